/// The scheduling problem as an integer program over ticks of time. Symbols and proof:
/// docs/mathematical-model.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "exact/mip_model.h"
#include "exact/mip_placement.h"
#include "exact/retime.h"
#include "exact/schedule_space.h"

namespace opweave::exact {

/// Columns and nonzeros that a time-indexed model will have, up to a small factor, before it is built.
struct MipSize {
  std::size_t columns = 0;
  std::size_t nonzeros = 0;
};

/// Builds the model and reads its solutions. Its relaxation is strong, and it grows with the horizon:
/// for durations that share a coarse unit, and for proofs.
class TimeIndexedMip {
 public:
  /// Schedules of makespan at most `horizon` ticks.
  /// \param should_stop  asked while the model is built, which may take long; may be empty
  TimeIndexedMip(std::shared_ptr<const ScheduleSpace> space, std::int64_t horizon, bool named = false,
                 std::function<bool()> should_stop = {});
  TimeIndexedMip(const TimeIndexedMip&) = delete;
  TimeIndexedMip& operator=(const TimeIndexedMip&) = delete;

  [[nodiscard]] static MipSize size(const ScheduleSpace& space, std::int64_t horizon);

  /// False if it was told to stop: the model is of no use.
  [[nodiscard]] bool is_complete() const { return is_complete_; }
  [[nodiscard]] const MipModel& model() const { return model_; }
  /// Values of all columns that say the same as a schedule. They satisfy the model if the schedule is valid
  /// and starts everything at multiples of the unit.
  [[nodiscard]] std::vector<double> values_of(const Schedule& schedule) const;
  void start_from(const Schedule& schedule) { model_.set_start(values_of(schedule)); }
  /// What values say, in nanoseconds.
  [[nodiscard]] RoughSchedule read(std::span<const double> values) const;

 private:
  using Expression = MipModel::Expression;

  /// b(t) = 1 from the tick in which something has started: 0 before `first`, `chosen` from `first` +
  /// columns on.
  struct Steps {
    std::int64_t first = 0;
    std::vector<MipModel::Column> columns;
    Expression chosen;
    std::int64_t duration = 0;
  };

  /// Asked before each part of the model.
  [[nodiscard]] bool goes_on();
  Steps add_steps(std::int64_t first, std::int64_t last, const Expression& chosen, std::int64_t duration,
                  const std::function<std::string()>& name);
  [[nodiscard]] static Expression started(const Steps& steps, std::int64_t tick);
  [[nodiscard]] static Expression ended(const Steps& steps, std::int64_t tick) {
    return started(steps, tick - steps.duration);
  }
  [[nodiscard]] Expression task_started_on(TaskId task, DeviceId device, std::int64_t tick) const;
  [[nodiscard]] Expression task_ended_on(TaskId task, DeviceId device, std::int64_t tick) const;
  [[nodiscard]] Expression task_started(TaskId task, std::int64_t tick) const;
  [[nodiscard]] Expression task_ended(TaskId task, std::int64_t tick) const;
  [[nodiscard]] static std::int64_t start_of(const Steps& steps, std::span<const double> values);

  void add_tasks();
  void add_deliveries();
  void add_precedence();
  void add_resources();
  void add_resource(const std::vector<const Steps*>& users);
  void add_memory(DeviceId device);
  void add_makespan();

  /// A value on a device at a tick is live if one of these is 1; the column is at least all of them.
  struct Live {
    MipModel::Column column;
    std::vector<Expression> at_least;
  };

  std::shared_ptr<const ScheduleSpace> space_;
  const Problem& problem_;
  std::int64_t horizon_;
  std::function<bool()> should_stop_;  ///< while it is built
  bool is_complete_ = true;
  MipModel model_;
  MipPlacement placement_;
  std::vector<std::vector<Steps>> tasks_;       ///< by TaskId and option
  std::vector<std::vector<Steps>> deliveries_;  ///< by index and source
  std::vector<Live> live_;
  std::int64_t first_finish_ = 0;           ///< no makespan is below
  std::vector<MipModel::Column> finished_;  ///< by tick from first_finish_ on: everything has ended
};

}  // namespace opweave::exact
