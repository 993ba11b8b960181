/// The part that the constraint programs share: which option each group takes.
#pragma once

#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "exact/cp_model.h"
#include "exact/schedule_space.h"
#include "opweave/schedule.h"

namespace opweave::exact {

/// Literals x (option of a group) and z (group on a device), and what keeps groups apart.
class CpPlacement {
 public:
  using Literal = CpModel::Literal;

  /// Never, always, or when a literal holds.
  struct Truth {
    bool can_hold = false;
    std::optional<Literal> literal;  ///< nothing and can_hold = always
    [[nodiscard]] bool is_always() const { return can_hold && !literal; }
    [[nodiscard]] bool holds(std::span<const std::int64_t> values) const;
    /// Sets the values so that it holds, or does not. \pre it can
    void decide(bool value, std::vector<std::int64_t>& values) const;
  };

  /// Adds the literals and their constraints to the model.
  CpPlacement(const ScheduleSpace& space, CpModel& model);

  /// The group takes the option; x in the formulas.
  [[nodiscard]] const Truth& chosen(GroupId group, std::uint32_t option) const {
    return chosen_[group.index()][option];
  }
  /// The group is placed on the device; z in the formulas.
  [[nodiscard]] Truth on(GroupId group, DeviceId device) const;
  /// Devices where the group may be, ascending.
  [[nodiscard]] const std::vector<std::pair<DeviceId, Truth>>& places(GroupId group) const {
    return on_[group.index()];
  }

  /// Sets the literals to what a schedule says. \return the option of every group
  std::vector<std::uint32_t> express(const ScheduleSpace& space, const Schedule& schedule,
                                     std::vector<std::int64_t>& values) const;
  /// The option that values say.
  [[nodiscard]] std::uint32_t option(GroupId group, std::span<const std::int64_t> values) const;

 private:
  void add_options(const ScheduleSpace& space, GroupId group, CpModel& model);
  void add_places(const ScheduleSpace& space, GroupId group, CpModel& model);

  std::vector<std::vector<Truth>> chosen_;                   ///< by group and option
  std::vector<std::vector<std::pair<DeviceId, Truth>>> on_;  ///< by group
};

}  // namespace opweave::exact
