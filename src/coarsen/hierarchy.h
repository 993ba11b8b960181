/// A problem and ever coarser ones.
#pragma once

#include <deque>

#include "coarsen/coarse_problem.h"
#include "opweave/budget.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave::coarsen {

/// Level 0 is the problem itself; each further one merges about half of the one before, along predecessors and along
/// successors in turn.
class Hierarchy {
 public:
  /// Merges until at most so many tasks are left, merging makes no progress, or the budget ends.
  /// \param is_gentle  see MergeOptions
  /// \pre can_merge(problem)
  Hierarchy(const Problem& problem, std::size_t coarsest, bool is_gentle, const Budget& budget);

  [[nodiscard]] std::size_t level_count() const { return levels_.size() + 1; }
  [[nodiscard]] const Problem& problem(std::size_t level) const {
    return level == 0 ? problem_ : levels_[level - 1].problem();
  }
  /// The schedule of the next finer level that one of this level stands for. \pre level > 0
  [[nodiscard]] Schedule expand(std::size_t level, const Schedule& schedule) const {
    return levels_[level - 1].expand(schedule);
  }

 private:
  Problem problem_;
  std::deque<CoarseProblem> levels_;
};

}  // namespace opweave::coarsen
