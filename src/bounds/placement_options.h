/// Where a task may run, as far as that can be said before anything is placed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "opweave/problem.h"

namespace opweave::bounds {

using DeviceSet = std::vector<DeviceId>;  ///< ascending

/// The alternatives of a group: every task of it runs on the same one of `sets`.
struct OptionList {
  std::vector<DeviceSet> sets;
  DeviceSet any;               ///< devices of at least one set
  DeviceSet every;             ///< devices of every set: certainly used
  bool single_devices = true;  ///< no set is a gang
};

/// The device sets on which all tasks of a group have a mode and on whose devices its parameters fit
/// beside the inputs, outputs and workspace of each of its tasks. Lists of equal content are shared.
class PlacementOptions {
 public:
  explicit PlacementOptions(const Problem& problem);

  [[nodiscard]] const std::vector<OptionList>& lists() const { return lists_; }
  /// Index into lists().
  [[nodiscard]] std::uint32_t list_of(GroupId group) const { return list_of_group_[group.index()]; }
  [[nodiscard]] const OptionList& options(GroupId group) const { return lists_[list_of(group)]; }

  /// One sentence for each group that fits on none of its device sets. Such a group keeps all of them.
  [[nodiscard]] const std::vector<std::string>& proofs() const { return proofs_; }

 private:
  std::vector<OptionList> lists_;
  std::vector<std::uint32_t> list_of_group_;
  std::vector<std::string> proofs_;
};

/// Whether the first ascending list holds every element of the second.
[[nodiscard]] bool contains(const DeviceSet& outer, const DeviceSet& inner);
[[nodiscard]] bool contains(const DeviceSet& set, DeviceId device);
[[nodiscard]] bool disjoint(const DeviceSet& a, const DeviceSet& b);

}  // namespace opweave::bounds
