/// Sorting what happens by when it does.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace opweave {

/// Items by their `time`; those of one time keep their order. Digit by digit of the times (radix sort), since to
/// compare millions of items takes longer than all else that is done with them: O(items * digits).
template <class Item>
void sort_by_time(std::vector<Item>& items) {
  constexpr std::size_t kFew = 256;
  if (items.size() < kFew) {
    std::ranges::stable_sort(items, {}, &Item::time);
    return;
  }
  constexpr unsigned kBits = 11;
  constexpr std::uint64_t kValues = 1U << kBits;
  const auto [first, last] = std::ranges::minmax(items, {}, &Item::time);
  const auto least = static_cast<std::uint64_t>(first.time.value());
  const auto digit = [&](const Item& item, unsigned shift) {
    return ((static_cast<std::uint64_t>(item.time.value()) - least) >> shift) % kValues;
  };
  const std::uint64_t range = static_cast<std::uint64_t>(last.time.value()) - least;
  std::vector<Item> dealt(items.size());
  for (unsigned shift = 0; shift < 64 && (range >> shift) != 0; shift += kBits) {
    std::array<std::size_t, kValues + 1> places{};
    for (const Item& item : items) ++places[digit(item, shift) + 1];
    for (std::size_t i = 0; i < kValues; ++i) places[i + 1] += places[i];
    for (Item& item : items) dealt[places[digit(item, shift)]++] = std::move(item);
    std::swap(items, dealt);
  }
}

}  // namespace opweave
