/// Plans for objectives beside the makespan, and for several in order of importance.
#pragma once

#include <vector>

#include "opweave/budget.h"
#include "opweave/objective.h"
#include "opweave/planner.h"
#include "planner/minimise_makespan.h"

namespace opweave {

struct ObjectiveFinding {
  Finding finding;                       ///< `is_optimal`: every objective equals its bound
  std::vector<ObjectiveFigure> figures;  ///< by order of importance; empty without a schedule
};

/// Share of what is left for an objective before those that matter less.
inline constexpr double kShareBeforeOthers = 0.75;
/// What the objective of this place among so many gets of the time that is left: three quarters, as those before decide
/// which plans the later ones may choose from; the last gets the rest.
[[nodiscard]] Budget share_of_objective(const Budget& budget, std::size_t place, std::size_t objectives);

/// One objective after the other: each is minimised among the plans that keep the deadline and are as good in the
/// objectives before (docs/objectives.md).
[[nodiscard]] ObjectiveFinding search_for_objectives(const Problem& problem, const Budget& budget,
                                                     const PlannerOptions& options);

}  // namespace opweave
