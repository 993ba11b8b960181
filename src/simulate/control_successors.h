/// Which tasks a task lets start by its end alone.
#pragma once

#include <span>
#include <vector>

#include "opweave/problem.h"

namespace opweave::simulation {

/// The inverse of Problem::control_predecessors.
class ControlSuccessors {
 public:
  explicit ControlSuccessors(const Problem& problem) : first_(problem.task_count() + 1) {
    for (std::size_t t = 0; t < problem.task_count(); ++t) {
      for (const TaskId before : problem.control_predecessors(TaskId(t))) ++first_[before.index() + 1];
    }
    for (std::size_t t = 0; t < problem.task_count(); ++t) first_[t + 1] += first_[t];
    tasks_.resize(first_.back());
    std::vector<std::size_t> next(first_.begin(), first_.end() - 1);
    for (std::size_t t = 0; t < problem.task_count(); ++t) {
      for (const TaskId before : problem.control_predecessors(TaskId(t))) tasks_[next[before.index()]++] = TaskId(t);
    }
  }

  [[nodiscard]] std::span<const TaskId> of(TaskId task) const {
    return std::span(tasks_).subspan(first_[task.index()], first_[task.index() + 1] - first_[task.index()]);
  }

 private:
  std::vector<std::size_t> first_;  // by task, in tasks_
  std::vector<TaskId> tasks_;
};

}  // namespace opweave::simulation
