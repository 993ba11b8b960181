/// Placement of models with many equal layers: a few are planned, and all are placed like them (docs/coarsening.md).
#pragma once

#include <optional>

#include "opweave/budget.h"
#include "opweave/planner.h"
#include "opweave/problem.h"
#include "planner/construct.h"
#include "planner/incumbent.h"

namespace opweave {

/// Plans the problem with most of its equal blocks left out, repeats the placement, lists all anew and offers what
/// comes of it. Spends a share of the budget, and none where blocks do not repeat.
/// \pre coarsen::can_merge(problem); the budget has a deadline; the incumbent has a schedule
/// \param step  seconds that a list schedule of the problem takes
/// \return the schedule, if it is better than the incumbent
[[nodiscard]] std::optional<Start> improve_blocks(const Problem& problem, const Budget& budget, double step,
                                                  const PlannerOptions& options, IncumbentStore& incumbent);

}  // namespace opweave
