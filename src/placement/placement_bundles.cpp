#include "placement/placement_bundles.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

namespace opweave {
namespace {

/// About a millisecond.
constexpr CutEffort kGuessEffort = {.search = 100'000, .judge = 0};

/// Single devices by distance in id from the wanted one, then whatever gangs there are.
std::vector<Option> by_distance(const Problem& problem, GroupId group, std::size_t wanted) {
  const auto all = problem.options(group);
  std::vector<Option> options(all.begin(), all.end());
  std::stable_sort(options.begin(), options.end(), [&](const Option& a, const Option& b) {
    const auto distance = [&](const Option& option) {
      const std::size_t d = option.devices.front().index();
      return std::pair(option.devices.size(), d > wanted ? d - wanted : wanted - d);
    };
    return distance(a) < distance(b);
  });
  return options;
}

}  // namespace

std::vector<std::vector<PlacementBundle>> bundles_by_replica(const Problem& problem, PartWeight weight) {
  std::vector<std::vector<PlacementBundle>> bundles(problem.settings().training.replicas);
  std::map<std::pair<OperatorId, std::uint32_t>, std::size_t> of_variant;
  std::vector<bool> seen(problem.group_count(), false);
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const GroupId group = problem.group_of(TaskId(t));
    if (seen[group.index()]) continue;
    seen[group.index()] = true;
    const Task& task = problem.task(TaskId(t));
    std::vector<PlacementBundle>& list = bundles[task.replica];
    const auto [entry, is_new] = of_variant.try_emplace({task.op, task.replica}, list.size());
    if (is_new) list.emplace_back();
    PlacementBundle& bundle = list[entry->second];
    bundle.groups.push_back(group);
    for (const TaskId member : problem.tasks_of(group)) {
      if (weight == PartWeight::kWork) {
        bundle.weight += problem.shortest(member).value();
      } else {
        for (const ValueId value : problem.outputs(member)) bundle.weight += problem.size(value).value();
      }
    }
    if (weight == PartWeight::kBytes) {
      for (const ParameterId parameter : problem.parameters_of(group)) {
        bundle.weight += problem.persistent_bytes(parameter).value();
      }
    }
  }
  return bundles;
}

std::vector<std::uint32_t> cut_by_weight(const std::vector<std::int64_t>& weights, const StageRounds& rounds) {
  LayerRow row;
  row.times.emplace_back();
  for (const std::int64_t weight : weights) row.times.front().push_back({Duration(weight), {}, {}});
  return cut_stages(row, rounds, {}, kGuessEffort).stage_of_layer();
}

bool place_bundle(const Problem& problem, PlacementState& state, const PlacementBundle& bundle, DeviceId wanted) {
  for (const GroupId group : bundle.groups) {
    const auto allowed = problem.devices_of(group);
    const DeviceId target[] = {wanted};
    if (std::binary_search(allowed.begin(), allowed.end(), wanted) && state.allows(group, target)) {
      state.place(group, target);
      continue;
    }
    bool found = false;
    for (const Option& option : by_distance(problem, group, wanted.index())) {
      if (!state.allows(group, option.devices)) continue;
      state.place(group, option.devices);
      found = true;
      break;
    }
    if (!found) return false;
  }
  return true;
}

}  // namespace opweave
