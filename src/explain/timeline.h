/// A schedule, indexed for the question "what had to happen before?".
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "opweave/plan.h"
#include "opweave/schedule.h"

namespace opweave::explaining {

/// Something that frees bytes of a device when it ends.
struct Release {
  Duration time;
  Bytes bytes;
  std::optional<TaskId> task;
  std::optional<std::size_t> transfer;
};

class Timeline {
 public:
  Timeline(const Problem& problem, const Schedule& schedule);

  const Problem problem;
  const Schedule schedule;
  const Duration makespan;

  [[nodiscard]] Duration start(TaskId task) const { return schedule.tasks[task.index()].start; }
  [[nodiscard]] Duration end(TaskId task) const { return schedule.end(problem, task); }
  [[nodiscard]] Mode mode(TaskId task) const { return problem.mode(task, schedule.tasks[task.index()].mode); }
  [[nodiscard]] bool runs_on(TaskId task, DeviceId device) const;

  /// Tasks of positive duration on a stream of a device, by start. Those of no duration occupy nothing.
  [[nodiscard]] std::span<const TaskId> lane(DeviceId device, std::size_t stream) const {
    return lanes_[device.index() * stream_count_ + stream];
  }
  /// The task of the lane before this one; for a task of no duration, nothing.
  [[nodiscard]] std::optional<TaskId> before_on(DeviceId device, std::size_t stream, TaskId task) const;
  /// Transfers of a value (indices into schedule.transfers).
  [[nodiscard]] std::span<const std::size_t> transfers_of(ValueId value) const;
  /// The transfer that brings a value to a device.
  [[nodiscard]] std::optional<std::size_t> arrival(ValueId value, DeviceId device) const;
  /// Transfers that directly precede this one on its endpoints or links.
  [[nodiscard]] std::span<const std::size_t> before_on_links(std::size_t transfer) const {
    return link_predecessors_[transfer];
  }

  /// The last moment in [since, until) at which `more` bytes do not fit on a device lies just before the moment
  /// returned; `since` if they fit all the time.
  [[nodiscard]] Duration fits_from(DeviceId device, Bytes more, Duration since, Duration until) const;
  /// What takes longest to end of that which frees most bytes of a device at a moment, and did not begin at it.
  [[nodiscard]] const Release* release(DeviceId device, Duration time) const;
  /// Bytes that a task would hold on one of its devices before its start, if it started earlier.
  [[nodiscard]] Bytes bytes_at_start(TaskId task, DeviceId device) const;

 private:
  void index_lanes();
  void index_transfers();
  void index_releases();

  std::size_t stream_count_;
  std::vector<std::vector<TaskId>> lanes_;
  std::vector<std::size_t> transfer_first_;  // by value
  std::vector<std::size_t> transfer_list_;
  std::vector<std::vector<std::size_t>> link_predecessors_;
  std::vector<std::vector<MemoryStep>> memory_;
  std::vector<std::vector<Release>> releases_;  // by device, by time
};

}  // namespace opweave::explaining
