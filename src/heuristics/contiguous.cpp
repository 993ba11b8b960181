#include "heuristics/contiguous.h"

#include <algorithm>
#include <limits>

#include "heuristics/placed_problem.h"
#include "heuristics/placement_state.h"
#include "heuristics/placement_units.h"

namespace opweave {
namespace {

/// Part of each unit when the list is cut into at most `parts` consecutive parts of least largest weight.
std::vector<std::size_t> cut(const std::vector<PlacementUnit>& units, std::size_t parts) {
  std::int64_t low = 0;
  std::int64_t high = 0;
  for (const PlacementUnit& unit : units) {
    low = std::max(low, unit.weight);
    high += unit.weight;
  }
  std::vector<std::size_t> part(units.size());
  const auto fill = [&](std::int64_t limit) {
    std::size_t current = 0;
    std::int64_t load = 0;
    for (std::size_t i = 0; i < units.size(); ++i) {
      if (load + units[i].weight > limit && load > 0) {
        ++current;
        load = 0;
      }
      load += units[i].weight;
      part[i] = current;
    }
    return current < parts;
  };
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (fill(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  fill(high);
  return part;
}

std::size_t device_of_part(Fold fold, std::size_t part, std::size_t devices) {
  const bool downwards = fold == Fold::kZigzag && (part / devices) % 2 == 1;
  return downwards ? devices - 1 - part % devices : part % devices;
}

}  // namespace

std::optional<std::vector<ModeIndex>> contiguous_placement(const Problem& problem, Fold fold, std::uint32_t rounds,
                                                           PartWeight weight, Shift shift) {
  PlacementState state(problem);
  const auto units = units_by_replica(problem, weight);
  const std::size_t shares = shift == Shift::kApart ? units.size() : 1;
  if (problem.cluster().device_count() % shares != 0) return std::nullopt;
  const std::size_t devices = problem.cluster().device_count() / shares;
  for (std::size_t replica = 0; replica < units.size(); ++replica) {
    if (rounds > 1 && units[replica].size() < rounds * devices) return std::nullopt;
    const std::vector<std::size_t> part = cut(units[replica], rounds * devices);
    for (std::size_t i = 0; i < part.size(); ++i) {
      std::size_t device = device_of_part(fold, part[i], devices);
      if (shift == Shift::kApart) device += replica * devices;
      if (shift == Shift::kRotated) device = (device + replica * devices / units.size()) % devices;
      if (shift == Shift::kReversed && replica % 2 == 1) device = devices - 1 - device;
      if (!place_unit(problem, state, units[replica][i], DeviceId(device))) return std::nullopt;
    }
  }
  return state.modes();
}

}  // namespace opweave
