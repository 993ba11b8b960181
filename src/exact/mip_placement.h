/// The part that both integer programs of the scheduling problem share: which option each group takes,
/// which transfers that makes necessary, which parameters live where.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "exact/mip_model.h"
#include "exact/schedule_space.h"
#include "opweave/schedule.h"

namespace opweave::exact {

/// Columns x (option of a group), u (transfer of a value from a source), h (parameters on a device), and
/// their rows.
class MipPlacement {
 public:
  using Expression = MipModel::Expression;

  /// Adds the columns and rows to the model. Both outlive this object.
  MipPlacement(const ScheduleSpace& space, MipModel& model);

  /// 1 if the group takes the option; x in the formulas.
  [[nodiscard]] const Expression& chosen(GroupId group, std::uint32_t option) const {
    return chosen_[group.index()][option];
  }
  /// 1 if the group is placed on the device; z in the formulas.
  [[nodiscard]] Expression on(GroupId group, DeviceId device) const;
  [[nodiscard]] Expression on(TaskId task, DeviceId device) const {
    return on(space_.problem().group_of(task), device);
  }
  /// 1 if the delivery happens from its source of this index; u in the formulas.
  [[nodiscard]] const Expression& sent(std::size_t delivery, std::size_t source) const {
    return sent_[delivery][source];
  }
  /// 1 if the delivery happens.
  [[nodiscard]] Expression sent(std::size_t delivery) const;
  /// Ticks that the task takes.
  [[nodiscard]] Expression duration(TaskId task) const;
  /// Units of memory that parameters take on the device.
  [[nodiscard]] Expression persistent(DeviceId device) const { return persistent_[device.index()]; }
  /// What lies on a device, or may, in units of its memory: exact, unless the space is rounded and the numbers would be
  /// large; then rounded down, so that the model is a relaxation.
  [[nodiscard]] double units(DeviceId device, Bytes bytes) const;
  /// Whether rounding is needed for the bytes of some device.
  [[nodiscard]] static bool has_large_bytes(const ScheduleSpace& space);

  /// Sets the columns of this part to what a schedule says.
  void express(const Schedule& schedule, std::vector<double>& values) const;
  /// The mode of every task, by TaskId.
  [[nodiscard]] std::vector<ModeIndex> modes(std::span<const double> values) const;

 private:
  void add_options();
  void add_deliveries();
  void add_persistent();

  struct Home {
    MipModel::Column column;
    std::vector<GroupId> groups;
    DeviceId device;
  };

  const ScheduleSpace& space_;
  MipModel& model_;
  std::vector<std::vector<Expression>> chosen_;
  std::vector<std::vector<Expression>> sent_;
  std::vector<Expression> persistent_;
  std::vector<Home> homes_;
};

}  // namespace opweave::exact
