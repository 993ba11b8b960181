/// When and where everything happens, in the ids of one Problem.
#pragma once

#include <vector>

#include "opweave/problem.h"

namespace opweave {

/// Start of one task in one of its modes; it ends a mode's duration later.
struct TaskAssignment {
  ModeIndex mode = 0;
  Duration start;
};

/// One value on its way from a device where it is to one where it is needed.
struct Transfer {
  ValueId value;
  DeviceId source;
  DeviceId destination;
  Duration start;
  Duration end;
  auto operator<=>(const Transfer&) const = default;
};

/// A complete answer to a Problem. A plain value: nothing here promises validity, `check` does.
struct Schedule {
  std::vector<TaskAssignment> tasks;  ///< by TaskId
  std::vector<Transfer> transfers;    ///< any order

  [[nodiscard]] Duration end(const Problem& problem, TaskId task) const {
    const TaskAssignment& assignment = tasks[task.index()];
    return assignment.start + problem.mode(task, assignment.mode).duration;
  }
  /// The mode of each task, by TaskId.
  [[nodiscard]] std::vector<ModeIndex> modes() const {
    std::vector<ModeIndex> result;
    result.reserve(tasks.size());
    for (const TaskAssignment& task : tasks) result.push_back(task.mode);
    return result;
  }
  /// Latest end of a task; 0 for no task.
  [[nodiscard]] Duration makespan(const Problem& problem) const;
};

}  // namespace opweave
