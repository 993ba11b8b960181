/// What the bounds keep of a problem: durations, least delays between tasks, and which tasks may be
/// taken to run in the order of their microbatches (docs/bounds.md, "The relaxed problem").
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bounds/placement_options.h"
#include "core/problem_data.h"
#include "opweave/problem.h"

namespace opweave::bounds {

using Nanoseconds = std::int64_t;
using Index = std::uint32_t;

/// The other end of a precedence, which starts at least `delay` after the first end has ended.
struct Edge {
  Index task = 0;
  Nanoseconds delay = 0;
};

/// Copies of one operator in the order in which they may be taken to run. A task whose copies are not
/// interchangeable is alone in its class.
struct TaskClass {
  std::vector<Index> tasks;         ///< ascending
  std::vector<Index> predecessors;  ///< classes, ascending, without repeats
  std::vector<Index> successors;
};

/// Copies of one tensor whose producers, or without one the consumers, form a class.
struct ValueClass {
  ValueId example;  ///< the copy of rank 0
  std::int64_t bytes = 0;
  Index count = 1;
  std::optional<Index> producer;  ///< class
  std::vector<Index> consumers;   ///< classes, ascending; of the same size as the producer's, or single
};

class Relaxation {
 public:
  explicit Relaxation(const Problem& problem);

  [[nodiscard]] const Problem& problem() const { return problem_; }
  [[nodiscard]] std::size_t task_count() const { return duration_.size(); }
  [[nodiscard]] const OptionList& options(Index task) const {
    return placement_.options(problem_.group_of(TaskId(task)));
  }
  [[nodiscard]] const PlacementOptions& placement() const { return placement_; }

  /// Least duration over the allowed device sets.
  [[nodiscard]] Nanoseconds duration(Index task) const { return duration_[task]; }
  /// Least sum over devices of the time for which the task holds them.
  [[nodiscard]] Nanoseconds work(Index task) const { return work_[task]; }
  /// Most devices of an allowed set.
  [[nodiscard]] Index widest(Index task) const { return widest_[task]; }
  /// Least bytes of workspace on each of its devices; 0 for a task that may take no time.
  [[nodiscard]] std::int64_t workspace(Index task) const { return workspace_[task]; }

  /// Precedences by task, with least delays; the order within a class is not among them.
  [[nodiscard]] std::span<const Edge> before(Index task) const { return before_[task]; }
  [[nodiscard]] std::span<const Edge> after(Index task) const { return after_[task]; }

  /// Classes in topological order.
  [[nodiscard]] const std::vector<TaskClass>& classes() const { return classes_; }
  [[nodiscard]] Index class_of(Index task) const { return class_of_[task]; }
  /// Position of the task in its class.
  [[nodiscard]] Index rank(Index task) const { return rank_[task]; }
  [[nodiscard]] const std::vector<ValueClass>& values() const { return values_; }

  /// One sentence for each value that must cross between devices which no route joins.
  [[nodiscard]] const std::vector<std::string>& unreachable() const { return unreachable_; }

 private:
  friend class RelaxationBuilder;
  const Problem& problem_;
  PlacementOptions placement_;
  std::vector<Nanoseconds> duration_;
  std::vector<Nanoseconds> work_;
  std::vector<Index> widest_;
  std::vector<std::int64_t> workspace_;
  detail::Lists<Edge> before_;
  detail::Lists<Edge> after_;
  std::vector<TaskClass> classes_;
  std::vector<Index> class_of_;
  std::vector<Index> rank_;
  std::vector<ValueClass> values_;
  std::vector<std::string> unreachable_;
};

/// The task of a class that has the given rank among `count` copies: its own, or the only one.
[[nodiscard]] inline Index task_at(const TaskClass& task_class, Index rank) {
  return task_class.tasks[task_class.tasks.size() == 1 ? 0 : rank];
}

}  // namespace opweave::bounds
