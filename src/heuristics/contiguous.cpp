#include "heuristics/contiguous.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "heuristics/placed_problem.h"
#include "heuristics/placement_state.h"

namespace opweave {
namespace {

/// Groups that go to one device together: one bound group, or all copies of an operator that nothing binds.
struct Unit {
  std::vector<GroupId> groups;
  std::int64_t weight = 0;
};

std::vector<std::vector<Unit>> units_by_replica(const Problem& problem, PartWeight weight) {
  std::vector<std::vector<Unit>> units(problem.settings().training.replicas);
  std::map<std::pair<OperatorId, std::uint32_t>, std::size_t> of_variant;
  std::vector<bool> seen(problem.group_count(), false);
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const GroupId group = problem.group_of(TaskId(t));
    if (seen[group.index()]) continue;
    seen[group.index()] = true;
    const Task& task = problem.task(TaskId(t));
    std::vector<Unit>& list = units[task.replica];
    const auto [entry, is_new] = of_variant.try_emplace({task.op, task.replica}, list.size());
    if (is_new) list.emplace_back();
    Unit& unit = list[entry->second];
    unit.groups.push_back(group);
    for (const TaskId member : problem.tasks_of(group)) {
      if (weight == PartWeight::kWork) {
        unit.weight += problem.shortest(member).value();
      } else {
        for (const ValueId value : problem.outputs(member)) unit.weight += problem.size(value).value();
      }
    }
    if (weight == PartWeight::kBytes) {
      for (const ParameterId parameter : problem.parameters_of(group)) {
        unit.weight += problem.persistent_bytes(parameter).value();
      }
    }
  }
  return units;
}

/// Part of each unit when the list is cut into at most `parts` consecutive parts of least largest weight.
std::vector<std::size_t> cut(const std::vector<Unit>& units, std::size_t parts) {
  std::int64_t low = 0;
  std::int64_t high = 0;
  for (const Unit& unit : units) {
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

/// Single devices by distance in id from the wanted one, then whatever gangs there are.
std::vector<std::vector<DeviceId>> by_distance(const PlacementState& state, GroupId group, std::size_t wanted) {
  std::vector<std::vector<DeviceId>> candidates = state.candidates(group);
  std::stable_sort(candidates.begin(), candidates.end(), [&](const auto& a, const auto& b) {
    const auto distance = [&](const std::vector<DeviceId>& devices) {
      const std::size_t d = devices.front().index();
      return std::pair(devices.size(), d > wanted ? d - wanted : wanted - d);
    };
    return distance(a) < distance(b);
  });
  return candidates;
}

bool place_unit(const Problem& problem, PlacementState& state, const Unit& unit, DeviceId wanted) {
  for (const GroupId group : unit.groups) {
    const auto allowed = problem.devices_of(group);
    const DeviceId target[] = {wanted};
    if (std::binary_search(allowed.begin(), allowed.end(), wanted) && state.allows(group, target)) {
      state.place(group, target);
      continue;
    }
    bool found = false;
    for (const std::vector<DeviceId>& devices : by_distance(state, group, wanted.index())) {
      if (!state.allows(group, devices)) continue;
      state.place(group, devices);
      found = true;
      break;
    }
    if (!found) return false;
  }
  return true;
}

}  // namespace

std::optional<std::vector<ModeIndex>> contiguous_placement(const Problem& problem, Fold fold, std::uint32_t rounds,
                                                           PartWeight weight, Shift shift) {
  const std::size_t devices = problem.cluster().device_count();
  PlacementState state(problem);
  const auto units = units_by_replica(problem, weight);
  for (std::size_t replica = 0; replica < units.size(); ++replica) {
    if (rounds > 1 && units[replica].size() < rounds * devices) return std::nullopt;
    const std::vector<std::size_t> part = cut(units[replica], rounds * devices);
    for (std::size_t i = 0; i < part.size(); ++i) {
      std::size_t device = device_of_part(fold, part[i], devices);
      if (shift == Shift::kRotated) device = (device + replica * devices / units.size()) % devices;
      if (shift == Shift::kReversed && replica % 2 == 1) device = devices - 1 - device;
      if (!place_unit(problem, state, units[replica][i], DeviceId(device))) return std::nullopt;
    }
  }
  return state.modes();
}

}  // namespace opweave
