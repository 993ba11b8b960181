#include "planner/problem_traits.h"

#include "coarsen/merging.h"

namespace opweave {

ProblemTraits::ProblemTraits(const Problem& of)
    : problem(of),
      tasks(of.task_count()),
      microbatches(of.settings().training.microbatches),
      can_be_merged(coarsen::can_merge(of)) {
  for (std::size_t g = 0; g < of.group_count() && !has_open_placement; ++g) {
    has_open_placement = of.options(GroupId(g)).size() > 1;
  }
}

}  // namespace opweave
