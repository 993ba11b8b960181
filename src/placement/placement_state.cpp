#include "placement/placement_state.h"

#include <algorithm>

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

std::vector<ModeIndex> PlacementState::modes() const {
  std::vector<ModeIndex> modes(problem_.task_count());
  for (std::size_t t = 0; t < modes.size(); ++t) {
    const std::optional<ModeIndex> mode = problem_.mode_on(TaskId(t), devices(problem_.group_of(TaskId(t))));
    if (!mode) throw InternalError("a group was placed where one of its tasks has no mode");
    modes[t] = *mode;
  }
  return modes;
}

}  // namespace opweave
