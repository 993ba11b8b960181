/// What a schedule of a problem may consist of: the index sets of every formulation.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave::exact {

/// Solvers of integer programs compute with doubles and let a row be broken by about a millionth, a variable be as far
/// from an integer. With times and capacities of at most so many units that does no harm; with nanoseconds and bytes as
/// they are, solvers were seen to call feasible programs infeasible.
inline constexpr std::int64_t kMostUnits = 100'000;

/// The unit in which a model counts time. A coarser unit makes a smaller model and rounds durations down, which makes a
/// relaxation: each start s of a valid schedule becomes floor(s / unit), all orders survive, and a bound of the coarse
/// problem times the unit is a bound of the problem (docs/mathematical-model.md).
struct TimeUnit {
  Duration length{1};
  bool is_rounded = false;    ///< not every duration is a multiple, or numbers other than times must be rounded
  bool counts_steps = false;  ///< whatever takes any time takes one tick: enough to ask whether there is a schedule

  [[nodiscard]] std::int64_t ticks(Duration duration) const {
    return counts_steps ? std::int64_t{duration > Duration()} : duration.value() / length.value();
  }
};

/// Whether a device is among some that are in ascending order.
[[nodiscard]] inline bool has_device(std::span<const DeviceId> devices, DeviceId device) {
  return std::binary_search(devices.begin(), devices.end(), device);
}

/// Largest unit that divides every duration of a task or transfer of the problem.
[[nodiscard]] TimeUnit exact_unit(const Problem& problem);

/// The exact unit, where `time` is at most so many ticks of it; else the finest coarser multiple.
[[nodiscard]] TimeUnit relaxed_unit(const Problem& problem, Duration time, std::int64_t most_ticks);

/// Options of tasks and sources of deliveries that a ScheduleSpace would list, up to a small factor, before it is
/// built: each is a column or an interval of a model. O(tasks + edges).
[[nodiscard]] std::size_t choice_count(const Problem& problem);

/// The choices of a problem, with the hopeless ones left out.
class ScheduleSpace {
 public:
  struct Source {
    DeviceId device;
    std::int64_t duration;  ///< of the transfer from there, in ticks
  };
  /// A value that may have to be sent to a device. v, l in the formulas.
  struct Delivery {
    ValueId value;
    DeviceId destination;
    std::vector<Source> sources;  ///< devices where the value may be made, with a route; may be empty
  };
  /// Bytes that one parameter takes on a device if one of the groups is placed there.
  struct Persistent {
    std::vector<GroupId> groups;
    Bytes bytes;
  };

  /// All choices of the problem.
  ScheduleSpace(Problem problem, TimeUnit unit);
  /// Groups that are not free stay where the schedule has them.
  ScheduleSpace(Problem problem, TimeUnit unit, const Schedule& reference, const std::vector<bool>& free_groups);

  [[nodiscard]] const Problem& problem() const { return problem_; }
  [[nodiscard]] const TimeUnit& unit() const { return unit_; }

  /// g, o in the formulas.
  [[nodiscard]] const std::vector<Option>& options(GroupId group) const { return options_[group.index()]; }
  /// Indices of the options of a group that include a device.
  [[nodiscard]] std::vector<std::uint32_t> options_on(GroupId group, DeviceId device) const;
  /// Devices of any option; ascending.
  [[nodiscard]] std::vector<DeviceId> devices(GroupId group) const;
  [[nodiscard]] ModeIndex mode(TaskId task, std::uint32_t option) const {
    return modes_[first_mode_[task.index()] + option];
  }
  [[nodiscard]] std::int64_t duration(TaskId task, std::uint32_t option) const {
    return unit_.ticks(problem_.mode(task, mode(task, option)).duration);
  }
  [[nodiscard]] std::int64_t shortest(TaskId task) const;
  [[nodiscard]] std::int64_t longest(TaskId task) const;

  /// By value, then destination.
  [[nodiscard]] const std::vector<Delivery>& deliveries() const { return deliveries_; }
  [[nodiscard]] std::size_t first_delivery(ValueId value) const { return first_delivery_[value.index()]; }
  [[nodiscard]] std::size_t end_of_deliveries(ValueId value) const { return first_delivery_[value.index() + 1]; }
  [[nodiscard]] std::optional<std::size_t> delivery(ValueId value, DeviceId destination) const;

  /// Capacity of a device whose memory may run out; nothing where everything fits at once.
  [[nodiscard]] std::optional<Bytes> binding_capacity(DeviceId device) const {
    return binding_capacity_[device.index()];
  }
  /// A number of bytes that divides everything that may lie on a device; at least 1.
  [[nodiscard]] Bytes byte_unit(DeviceId device) const { return byte_unit_[device.index()]; }
  /// Parameters that may live on a device.
  [[nodiscard]] std::vector<Persistent> persistent(DeviceId device) const;

  /// Ticks before which no task can start, and that must pass after its end: longest paths of shortest
  /// durations and of transfers that no choice avoids.
  [[nodiscard]] std::int64_t head(TaskId task) const { return head_[task.index()]; }
  [[nodiscard]] std::int64_t tail(TaskId task) const { return tail_[task.index()]; }
  /// A makespan that some best schedule keeps, if there is a schedule: everything one after the other. In a
  /// schedule without a moment at which all is idle nothing takes longer.
  [[nodiscard]] std::int64_t horizon() const { return horizon_; }

 private:
  void list_options(const Schedule* reference, const std::vector<bool>* free_groups);
  void list_deliveries();
  void find_binding_capacities();
  void find_heads_and_tails();
  [[nodiscard]] std::int64_t least_lag(ValueId value, TaskId producer, TaskId consumer) const;

  Problem problem_;
  TimeUnit unit_;
  std::vector<std::vector<Option>> options_;
  std::vector<std::size_t> first_mode_;
  std::vector<ModeIndex> modes_;
  std::vector<Delivery> deliveries_;
  std::vector<std::size_t> first_delivery_;
  std::vector<std::optional<Bytes>> binding_capacity_;
  std::vector<Bytes> byte_unit_;
  std::vector<std::int64_t> head_;
  std::vector<std::int64_t> tail_;
  std::int64_t horizon_ = 0;
};

}  // namespace opweave::exact
