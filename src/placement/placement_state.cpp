#include "placement/placement_state.h"

#include <algorithm>

#include "list_scheduling/placed_problem.h"
#include "opweave/error.h"

namespace opweave {

PlacementState::PlacementState(const Problem& problem)
    : problem_(problem),
      devices_(problem.group_count()),
      homes_(problem.cluster().device_count()),
      persistent_(problem.cluster().device_count(), 0) {}

std::int64_t PlacementState::new_bytes(GroupId group, DeviceId device) const {
  std::int64_t bytes = 0;
  for (const ParameterId parameter : problem_.parameters_of(group)) {
    if (!homes_[device.index()].contains(parameter)) bytes += problem_.persistent_bytes(parameter).value();
  }
  return bytes;
}

bool PlacementState::allows(GroupId group, std::span<const DeviceId> devices) const {
  for (const DeviceId device : devices) {
    const std::optional<Bytes> capacity = problem_.capacity(device);
    if (capacity && persistent_[device.index()] + new_bytes(group, device) > capacity->value()) return false;
  }
  for (const GroupId other : problem_.apart_from(group)) {
    for (const DeviceId device : this->devices(other)) {
      if (std::find(devices.begin(), devices.end(), device) != devices.end()) return false;
    }
  }
  return true;
}

void PlacementState::place(GroupId group, std::span<const DeviceId> devices) {
  devices_[group.index()].assign(devices.begin(), devices.end());
  for (const DeviceId device : devices) {
    persistent_[device.index()] += new_bytes(group, device);
    for (const ParameterId parameter : problem_.parameters_of(group)) homes_[device.index()].insert(parameter);
  }
}

std::vector<std::vector<DeviceId>> PlacementState::candidates(GroupId group) const {
  std::vector<std::vector<DeviceId>> result;
  for (const DeviceId device : problem_.devices_of(group)) result.push_back({device});
  const auto tasks = problem_.tasks_of(group);
  const TaskId first = tasks.front();
  for (ModeIndex index = 0; index < problem_.mode_count(first); ++index) {
    const Mode mode = problem_.mode(first, index);
    if (mode.devices.size() == 1) {
      // Modes on one device are many only where no gang exists; those are listed above.
      if (index == 0 && problem_.mode(first, problem_.mode_count(first) - 1).devices.size() == 1) break;
      continue;
    }
    const bool common = std::all_of(tasks.begin(), tasks.end(), [&](TaskId task) {
      return mode_with_devices(problem_, task, mode.devices).has_value();
    });
    if (common) result.emplace_back(mode.devices.begin(), mode.devices.end());
  }
  return result;
}

std::vector<ModeIndex> PlacementState::modes() const {
  std::vector<ModeIndex> modes(problem_.task_count());
  for (std::size_t t = 0; t < modes.size(); ++t) {
    const std::optional<ModeIndex> mode = mode_with_devices(problem_, TaskId(t), devices(problem_.group_of(TaskId(t))));
    if (!mode) throw InternalError("a group was placed where one of its tasks has no mode");
    modes[t] = *mode;
  }
  return modes;
}

}  // namespace opweave
