/// Placement and order of problems too large to search as a whole: by levels of merged tasks (docs/coarsening.md).
#pragma once

#include <optional>

#include "opweave/budget.h"
#include "opweave/planner.h"
#include "opweave/problem.h"
#include "planner/construct.h"
#include "planner/incumbent.h"
#include "planner/problem_traits.h"

namespace opweave {

/// The placement is open, and tasks can be merged in the time that there usually is.
[[nodiscard]] bool levels_support(const ProblemTraits& traits);

/// Tasks are merged and placed, level by level, and levels that are finer than the best of these are searched, each
/// from what the coarser one found; offers what comes of it.
/// \param step  seconds that a list schedule of the problem takes: what takes as long is not begun with less time left
/// \param only_from_coarser  ends at once where no coarser level leads to a better schedule than `start`: for callers
///   that search the problem itself anyway
/// \return the best schedule that was found; nothing if it is no better than `start`
/// \pre coarsen::can_merge(problem); the budget has a deadline; start is valid
[[nodiscard]] std::optional<Start> improve_levels(const Problem& problem, const Budget& budget, double step,
                                                  const PlannerOptions& options, const Start& start,
                                                  IncumbentStore& incumbent, bool only_from_coarser = false);

}  // namespace opweave
