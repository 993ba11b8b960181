#include "training/cut_capacity.h"

#include <algorithm>
#include <numeric>

namespace opweave::detail {
namespace {

/// More sums than this are as good as all: layers that differ this much leave no gaps.
constexpr std::size_t kMostSums = 256;
constexpr std::size_t kMostPairs = 16'384;

void make_unique(std::vector<std::int64_t>& sums) {
  std::ranges::sort(sums);
  sums.erase(std::unique(sums.begin(), sums.end()), sums.end());
}

}  // namespace

CutCapacity::CutCapacity(const CutLoads& loads) : loads_(loads) {
  if (!loads.one_kind()) return;
  const std::uint32_t layers = loads.layers();
  std::int64_t unit = 0;
  for (std::uint32_t layer = 0; layer < layers; ++layer) unit = std::gcd(unit, loads.weight(layer, layer + 1));
  unit_ = std::max<std::int64_t>(unit, 1);
  if (loads.stages() == 1) {
    first_ = {loads.weight(0, layers)};
    return;
  }
  for (std::uint32_t end = 1; end < layers; ++end) {
    first_.push_back(loads.weight(0, end));
    last_.push_back(loads.weight(end, layers));
  }
  make_unique(first_);
  make_unique(last_);
  for (std::uint32_t begin = 1; others_known_ && begin + 1 < layers; ++begin) {
    for (std::uint32_t end = begin + 1; end < layers; ++end) others_.push_back(loads.weight(begin, end));
    make_unique(others_);
    others_known_ = others_.size() <= kMostSums;
  }
}

CutCapacity::Kind CutCapacity::kind_of(std::uint32_t group) const {
  Kind kind{false, false, 0};
  for (const CutFront& front : loads_.fronts()) {
    if (group >= front.stages) continue;
    const std::uint32_t stage = front.stage(group);
    kind.has_first |= stage == 0;
    kind.has_last |= stage > 0 && stage + 1 == loads_.stages();
    kind.others += stage > 0 && stage + 1 < loads_.stages() ? 1U : 0U;
  }
  return kind;
}

CutCapacity::Reachable CutCapacity::reachable(const Kind& kind, std::int64_t load, std::int64_t stage) const {
  Sums sums = {0};
  const auto add = [&](const Sums& of_stage) {
    Sums result;
    for (const std::int64_t sum : sums) {
      for (const std::int64_t more : of_stage) {
        if (more > stage || more > load - sum) break;
        result.push_back(sum + more);
      }
    }
    make_unique(result);
    sums = std::move(result);
  };
  if (kind.has_first) add(first_);
  if (kind.has_last) add(last_);
  std::uint32_t left = kind.others;
  for (; others_known_ && left > 0 && sums.size() * others_.size() <= kMostPairs; --left) add(others_);
  return {load, std::move(sums), left};
}

std::optional<std::int64_t> CutCapacity::most(const Kind& kind, std::int64_t load, std::int64_t stage) const {
  Reachable& known = reachable_[{kind, stage}];
  if (known.load < load) known = reachable(kind, load, stage);
  const auto above = std::upper_bound(known.sums.begin(), known.sums.end(), load);
  if (above == known.sums.begin()) return std::nullopt;
  const std::int64_t sum = *std::prev(above);
  if (known.left == 0) return sum;
  // Any sums of the stages that are left are thought possible, as far as they keep to the limit of a stage.
  const std::int64_t room = load - known.sums.front();
  const std::int64_t value = stage > room / known.left ? load : std::min(load, sum + known.left * stage);
  return value - value % unit_;
}

std::int64_t CutCapacity::rounded_up(std::int64_t value) const { return (value + unit_ - 1) / unit_ * unit_; }

std::optional<std::vector<std::int64_t>> CutCapacity::of_groups(const CutLimits& limits) const {
  std::vector<std::int64_t> result(loads_.groups(), kNoLimit);
  if (limits.load == kNoLimit) return result;
  if (!loads_.one_kind()) {
    if (loads_.both_ways()) return result;
    for (std::uint32_t group = 0; group < loads_.groups(); ++group) {
      const std::int64_t speed = loads_.speed(group);
      if (limits.load < kNoLimit / speed) result[group] = speed * limits.load;
    }
    return result;
  }
  std::map<std::pair<Kind, std::int64_t>, std::int64_t> known;
  const std::int64_t runs = loads_.rounds().runs + loads_.rounds().opposite_runs;
  for (std::uint32_t group = 0; group < loads_.groups(); ++group) {
    // Two devices that share their stages take runs times their sum together.
    const std::int64_t load =
        limits.load / runs * loads_.devices_in(group) + limits.load % runs * loads_.devices_in(group) / runs;
    const std::pair key(kind_of(group), load);
    auto found = known.find(key);
    if (found == known.end()) {
      const auto value = most(key.first, load, limits.stage);
      if (!value) return std::nullopt;
      found = known.emplace(key, *value).first;
    }
    result[group] = found->second;
  }
  return result;
}

bool CutCapacity::holds_all(const CutLimits& limits) const {
  const auto capacity = of_groups(limits);
  if (!capacity) return false;
  std::int64_t left = loads_.weight(0, loads_.layers());
  for (const std::int64_t most : *capacity) left -= std::min(left, most);
  return left == 0;
}

std::int64_t CutCapacity::least_load(std::int64_t known) const {
  (void)of_groups({known, kNoLimit});  // what can be reached at all, once for all that follows
  std::int64_t low = 0;
  while (low < known) {
    const std::int64_t middle = low + (known - low) / 2;
    if (holds_all({middle, kNoLimit})) {
      known = middle;
    } else {
      low = middle + 1;
    }
  }
  return rounded_up(known);
}

std::int64_t CutCapacity::least_stage(std::int64_t load, std::int64_t known) const {
  std::int64_t low = 0;
  if (loads_.one_kind()) low = std::min(known, least_part(loads_.weight_before(), loads_.stages()));
  while (low < known) {
    const std::int64_t middle = low + (known - low) / 2;
    if (holds_all({load, middle})) {
      known = middle;
    } else {
      low = middle + 1;
    }
  }
  return rounded_up(known);
}

}  // namespace opweave::detail
