#include "training/cut_loads.h"

#include <algorithm>
#include <cmath>

namespace opweave::detail {
namespace {

/// Speeds differ by at most this factor: beyond it nothing is gained, and sums stay far from overflow.
constexpr std::int64_t kLargestSpeed = 4096;

/// Whether as many parts as given, each as full as the limit allows, hold everything.
bool fits(const std::vector<std::int64_t>& before, std::uint32_t parts, std::int64_t limit) {
  std::size_t start = 0;
  for (std::uint32_t part = 0; part < parts && start + 1 < before.size(); ++part) {
    start = static_cast<std::size_t>(std::upper_bound(before.begin(), before.end(), before[start] + limit) -
                                     before.begin()) -
            1;
  }
  return start + 1 == before.size();
}

/// Weights for which a device that is as fast as the mean of its kind takes `speed` per unit of time.
std::vector<std::int64_t> speeds(const std::vector<std::vector<std::int64_t>>& before) {
  if (before.size() == 1) return {1};
  double slowest = 1;
  for (const auto& kind : before) slowest = std::max(slowest, static_cast<double>(kind.back()));
  std::vector<std::int64_t> result;
  for (const auto& kind : before) {
    const double ratio = 64 * slowest / std::max(1.0, static_cast<double>(kind.back()));
    result.push_back(std::clamp<std::int64_t>(std::llround(ratio), 1, kLargestSpeed));
  }
  return result;
}

}  // namespace

CutLoads::CutLoads(const LayerRow& layers, const StageRounds& rounds)
    : layers_(static_cast<std::uint32_t>(layers.size())), rounds_(rounds) {
  for (const std::vector<LayerTimes>& kind : layers.times) {
    auto& before = before_.emplace_back(1, 0);
    for (const LayerTimes& layer : kind) before.push_back(before.back() + layer.total().value());
  }
  speed_ = speeds(before_);
  // A layer weighs what it takes at least on any kind, at that kind's speed.
  weight_before_.assign(1, 0);
  for (std::uint32_t layer = 0; layer < layers_; ++layer) {
    std::int64_t least = kNoLimit;
    for (std::size_t kind = 0; kind < before_.size(); ++kind) {
      least = std::min(least, speed_[kind] * (before_[kind][layer + 1] - before_[kind][layer]));
    }
    weight_before_.push_back(weight_before_.back() + least);
  }
  if (both_ways()) {
    const std::uint32_t half = rounds.devices / 2;
    fronts_.push_back({rounds.devices - half, 0, false});
    if (half > 0) fronts_.push_back({half, rounds.devices - half, true});
    return;
  }
  for (std::uint32_t round = 0; round < rounds.downwards.size(); ++round) {
    fronts_.push_back({rounds.devices, round * rounds.devices, rounds.downwards[round]});
  }
}

CutLoads::Share CutLoads::share(std::uint32_t group, std::size_t front, std::uint32_t begin, std::uint32_t end) const {
  const std::int64_t here = time(group, begin, end);
  if (!both_ways()) return {here, 0, here};
  const std::uint32_t partner = rounds_.devices - 1 - group;
  const std::int64_t there = time(partner, begin, end);
  const std::int64_t runs = rounds_.runs;
  const std::int64_t opposite = rounds_.opposite_runs;
  const std::int64_t longest = std::max(here, there);
  if (partner == group) return {(runs + opposite) * here, 0, longest};
  if (front == 0) return {runs * here, opposite * there, longest};
  return {opposite * here, runs * there, longest};
}

CutFigures CutLoads::figures(const CutBounds& bounds) const {
  CutFigures result;
  for (std::uint32_t group = 0; group < groups(); ++group) {
    std::int64_t first = 0;
    std::int64_t second = 0;
    for (std::size_t front = 0; front < fronts_.size() && group < fronts_[front].stages; ++front) {
      const std::uint32_t stage = fronts_[front].stage(group);
      const Share part = share(group, front, bounds[stage], bounds[stage + 1]);
      first += part.first;
      second += part.second;
      result.stage = std::max(result.stage, part.longest);
      result.stage_squares += static_cast<double>(part.longest) * static_cast<double>(part.longest);
    }
    result.load = std::max({result.load, first, second});
    result.load_squares += static_cast<double>(first) * static_cast<double>(first) +
                           static_cast<double>(second) * static_cast<double>(second);
  }
  return result;
}

std::int64_t least_part(const std::vector<std::int64_t>& before, std::uint32_t parts) {
  std::int64_t low = 0;
  for (std::size_t layer = 1; layer < before.size(); ++layer) low = std::max(low, before[layer] - before[layer - 1]);
  std::int64_t high = before.back();
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (fits(before, parts, middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return high;
}

CutBounds even_cut(const CutLoads& loads) {
  const std::vector<std::int64_t>& before = loads.weight_before();
  const std::uint32_t layers = loads.layers();
  const std::uint32_t stages = loads.stages();
  // The share of the whole that ends with each stage. Where there is nothing to share, layers count alike.
  std::vector<double> share(stages);
  double sum = 0;
  for (std::uint32_t stage = 0; stage < stages; ++stage) {
    sum += static_cast<double>(loads.speed(loads.rounds().device_of(stage)));
    share[stage] = sum;
  }
  const bool is_empty = before.back() == 0;
  const auto at = [&](std::uint32_t layer) { return is_empty ? std::int64_t{layer} : before[layer]; };
  const std::int64_t limit = loads.one_kind() && !is_empty ? least_part(before, stages) : kNoLimit / 2;
  // Stage s may begin no earlier than earliest[s], or what is left would not fit into the stages that are left.
  std::vector<std::uint32_t> earliest(stages + 1, layers);
  for (std::uint32_t stage = stages; stage-- > 0;) {
    earliest[stage] = static_cast<std::uint32_t>(
        std::lower_bound(before.begin(), before.end(), before[earliest[stage + 1]] - limit) - before.begin());
  }
  CutBounds bounds = {0};
  for (std::uint32_t stage = 0; stage < stages; ++stage) {
    const std::uint32_t begin = bounds.back();
    const auto fill = static_cast<std::uint32_t>(std::upper_bound(before.begin(), before.end(), before[begin] + limit) -
                                                 before.begin() - 1);
    const std::uint32_t least = std::max(earliest[stage + 1], begin + 1);
    const std::uint32_t most = std::min(fill, layers - (stages - 1 - stage));
    const double wanted = static_cast<double>(at(layers)) * share[stage] / sum;
    const auto distance = [&](std::uint32_t end) { return std::abs(static_cast<double>(at(end)) - wanted); };
    std::uint32_t end = least;
    while (end < most && distance(end + 1) <= distance(end)) ++end;
    bounds.push_back(stage + 1 == stages ? layers : end);
  }
  return bounds;
}

}  // namespace opweave::detail
