#include "bounds/device_loads.h"

#include <algorithm>
#include <map>

namespace opweave::bounds {
namespace {

__extension__ using Wide = __int128;

constexpr std::size_t kMostSums = 100'000;

}  // namespace

DeviceLoads::DeviceLoads(std::vector<Part> parts) : parts_(std::move(parts)) {
  std::map<Nanoseconds, std::size_t> count;
  for (const Part& part : parts_) {
    total_ += part.work;
    ++count[part.work];
  }
  std::stable_sort(parts_.begin(), parts_.end(),
                   [](const Part& a, const Part& b) { return Wide{a.bytes} * b.work < Wide{b.bytes} * a.work; });
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
