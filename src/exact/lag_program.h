/// The scheduling problem with transfers as mere lags, as a decision: is there a schedule of at most so long?
/// Symbols and proof: docs/mathematical-model.md.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "exact/cp_model.h"
#include "exact/cp_placement.h"
#include "exact/order_graph.h"
#include "exact/schedule_space.h"

namespace opweave::exact {

/// Options, starts, and no two tasks on a stream at once; an edge lasts as long as the transfers between the options of
/// its two groups. Transfers wait for nothing and nothing but parameters takes memory, so the program is a relaxation:
/// that it has no solution proves that there is no schedule. Where that leaves nothing out (`is_exact`) a solution is a
/// schedule. Much smaller than CpFormulation, where every possible transfer is an interval.
class LagProgram {
 public:
  /// \param target  in ticks; the model has solutions of at most this makespan only
  LagProgram(std::shared_ptr<const ScheduleSpace> space, std::int64_t target);

  /// Intervals of tasks and pairs of options of edges, before anything is built. O(tasks + edges)
  [[nodiscard]] static std::size_t size(const Problem& problem);
  /// No transfer waits for another one, and memory cannot run out.
  [[nodiscard]] static bool is_exact(const ScheduleSpace& space);

  [[nodiscard]] const CpModel& model() const { return model_; }
  /// What values say, in nanoseconds; transfers start when what they send is made.
  [[nodiscard]] RoughSchedule read(std::span<const std::int64_t> values) const;
  /// Values that say the same as a schedule; they satisfy the model exactly if it is valid and not longer than the
  /// target.
  [[nodiscard]] std::vector<std::int64_t> values_of(const Schedule& schedule) const;

 private:
  using Affine = CpModel::Affine;
  using Literal = CpModel::Literal;
  using Truth = CpPlacement::Truth;

  struct TaskParts {
    Affine start;
    Affine end;
    std::vector<CpModel::Interval> intervals;  ///< by option
  };
  /// Lags between the options of two groups, by option of the earlier one and then of the later; kNoRoute = cannot be.
  using Table = std::vector<std::int64_t>;
  /// Holds if the lag is at least so many ticks.
  struct Threshold {
    std::int64_t lag;
    Literal literal;
  };

  void add_tasks();
  void add_task(TaskId task);
  void add_precedence();
  [[nodiscard]] Table lags(TaskId before, TaskId after) const;
  [[nodiscard]] std::int64_t lag_of(ValueId value, const Option& from, const Option& to) const;
  const std::vector<Threshold>& thresholds(GroupId before, GroupId after, const Table& table);
  /// Wherever an option of one group meets no option of the other with a lag below `lag`: `then`, or never.
  void add_threshold(GroupId before, GroupId after, const Table& table, std::int64_t lag, std::optional<Literal> then);
  void add_streams();
  void add_work_on_stream(std::size_t stream);
  void add_parameters();

  std::shared_ptr<const ScheduleSpace> space_;
  const Problem& problem_;
  std::int64_t target_;
  CpModel model_;
  CpPlacement placement_;
  std::vector<TaskParts> tasks_;
  std::map<std::pair<std::pair<GroupId, GroupId>, Table>, std::vector<Threshold>> thresholds_;
  /// Literals of parameters that several groups read: their groups and device.
  struct Home {
    Literal literal;
    std::vector<GroupId> groups;
    DeviceId device;
  };
  std::vector<Home> homes_;
};

}  // namespace opweave::exact
