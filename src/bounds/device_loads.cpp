#include "bounds/device_loads.h"

#include <algorithm>
#include <functional>
#include <map>

namespace opweave::bounds {
namespace {

__extension__ using Wide = __int128;

constexpr std::size_t kMostSums = 100'000;
/// Counts of groups of other than the most frequent work.
constexpr std::size_t kMostStates = 256;

}  // namespace

DeviceLoads::DeviceLoads(std::vector<Part> parts) : parts_(std::move(parts)) {
  std::map<Nanoseconds, std::size_t> count;
  for (const Part& part : parts_) {
    total_ += part.work;
    ++count[part.work];
  }
  std::stable_sort(parts_.begin(), parts_.end(),
                   [](const Part& a, const Part& b) { return Wide{a.bytes} * b.work < Wide{b.bytes} * a.work; });
  for (const auto& [work, copies] : count) kinds_.push_back({work, copies});
  std::ranges::stable_sort(kinds_, std::greater<>(), &Kind::count);
  sums_ = {0};
  for (const auto& [work, copies] : count) {
    if (sums_.size() * (copies + 1) > 4 * kMostSums) {
      sums_.clear();
      return;
    }
    std::vector<Nanoseconds> next;
    for (const Nanoseconds sum : sums_) {
      for (std::size_t i = 0; i <= copies; ++i) next.push_back(sum + static_cast<Nanoseconds>(i) * work);
    }
    std::sort(next.begin(), next.end());
    next.erase(std::unique(next.begin(), next.end()), next.end());
    sums_ = std::move(next);
    if (sums_.size() > kMostSums) {
      sums_.clear();
      return;
    }
  }
}

Nanoseconds DeviceLoads::most_within(Nanoseconds limit) const {
  if (limit <= 0) return 0;
  if (sums_.empty()) return std::min(limit, total_);
  return *(std::upper_bound(sums_.begin(), sums_.end(), limit) - 1);
}

bool DeviceLoads::can_be_packed(const std::vector<Nanoseconds>& most, const std::vector<Nanoseconds>& most_with) const {
  Wide sum = 0;
  for (const Nanoseconds each : most) sum += each;
  if (sum < total_) return false;
  // A state says how many groups of each of the other kinds are on devices, the last kind counting fastest.
  std::size_t states = 1;
  for (std::size_t kind = 1; kind < kinds_.size() && states <= kMostStates; ++kind) states *= kinds_[kind].count + 1;
  if (kinds_.empty() || states > kMostStates) return true;
  /// How much more work a device has that takes the groups from one state to another, and of which kinds; negative if
  /// it has fewer.
  struct Added {
    Nanoseconds work = 0;
    std::size_t kinds = 0;
  };
  const auto added = [&](std::size_t from, std::size_t to) {
    Added result;
    for (std::size_t kind = kinds_.size(); kind-- > 1;) {
      const std::size_t base = kinds_[kind].count + 1;
      if (to % base < from % base) return Added{-1, 0};
      if (to % base > from % base) result.kinds |= std::size_t{1} << (kind - 1);
      result.work += static_cast<Nanoseconds>(to % base - from % base) * kinds_[kind].work;
      from /= base;
      to /= base;
    }
    return result;
  };
  constexpr Nanoseconds kUnreached = -1;
  std::vector<Nanoseconds> placed(states, kUnreached);  // groups of the first kind, at most
  placed[0] = 0;
  for (const Nanoseconds limit : most) {
    std::vector<Nanoseconds> next = placed;
    for (std::size_t from = 0; from < states; ++from) {
      if (placed[from] == kUnreached) continue;
      for (std::size_t to = from; to < states; ++to) {
        const Added more = added(from, to);
        const Nanoseconds takes = most_with.empty() ? limit : std::min(limit, most_with[more.kinds]);
        if (more.work < 0 || more.work > takes) continue;
        next[to] = std::max(next[to], placed[from] + (takes - more.work) / kinds_.front().work);
      }
    }
    placed = std::move(next);
  }
  return placed.back() >= static_cast<Nanoseconds>(kinds_.front().count);
}

std::int64_t DeviceLoads::bytes_for(Nanoseconds load) const {
  Wide bytes = 0;
  for (const Part& part : parts_) {
    if (load <= 0) break;
    const Nanoseconds taken = std::min(load, part.work);
    bytes += Wide{part.bytes} * taken / part.work;
    load -= taken;
  }
  return static_cast<std::int64_t>(bytes);
}

}  // namespace opweave::bounds
