#include "core/sort_by_time.h"

#include <gtest/gtest.h>

#include <random>

#include "opweave/quantity.h"

namespace opweave {
namespace {

struct Item {
  Duration time;
  std::size_t number = 0;
  bool operator==(const Item&) const = default;
};

TEST(SortByTime, agrees_with_a_stable_sort_of_few_and_of_many_whatever_the_range) {
  std::mt19937_64 random(1);
  for (const std::size_t count : {0UL, 1UL, 100UL, 5'000UL}) {
    for (const std::int64_t range : {1L, 50L, 3'000'000'000L, 4'000'000'000'000'000'000L}) {
      std::vector<Item> items;
      for (std::size_t i = 0; i < count; ++i) {
        items.push_back(
            {Duration(static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(range)) - range / 2), i});
      }
      std::vector<Item> expected = items;
      std::ranges::stable_sort(expected, {}, &Item::time);
      sort_by_time(items);
      EXPECT_EQ(items, expected) << count << " of a range of " << range;
    }
  }
}

}  // namespace
}  // namespace opweave
