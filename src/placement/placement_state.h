/// Bookkeeping while groups are placed one after the other.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "opweave/problem.h"

namespace opweave {

/// Devices of the groups placed so far, and what still fits.
class PlacementState {
 public:
  explicit PlacementState(const Problem& problem);

  [[nodiscard]] bool is_placed(GroupId group) const { return !devices_[group.index()].empty(); }
  [[nodiscard]] std::span<const DeviceId> devices(GroupId group) const { return devices_[group.index()]; }
  /// The parameters fit and no group that must stay apart is there.
  [[nodiscard]] bool allows(GroupId group, std::span<const DeviceId> devices) const;
  /// Bytes of the parameters that the group would bring to the device.
  [[nodiscard]] std::int64_t new_bytes(GroupId group, DeviceId device) const;
  /// \pre allows(group, devices), and every task of the group has a mode on them.
  void place(GroupId group, std::span<const DeviceId> devices);
  /// A mode per task. \pre every group is placed.
  [[nodiscard]] std::vector<ModeIndex> modes() const;

 private:
  const Problem& problem_;
  std::vector<std::vector<DeviceId>> devices_;  // per group
  std::vector<std::set<ParameterId>> homes_;    // per device
  std::vector<std::int64_t> persistent_;        // per device
};

}  // namespace opweave
