/// Plans with memory modes that are to be good at the makespan and at the peak of memory (docs/memory-modes.md).
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "memory_modes/mode_incumbent.h"
#include "opweave/budget.h"
#include "opweave/planner.h"
#include "opweave/problem.h"

namespace opweave {

/// A search for the shortest plan of a problem. It leaves what it finds in the findings, tells of every plan by
/// on_progress, and returns kInfeasible where it is proven that there is none.
using ShortestWithModes = std::function<PlanResult(const Problem&, const Budget&, const PlannerOptions&,
                                                   const std::shared_ptr<ModeFindings>&)>;

/// \throws InputError for objectives that are not searched with memory modes
void require_objectives_with_modes(const std::vector<Objective>& objectives);

/// Searches a plan that ends by the deadline of the options, and is best in their first objective, then in the second
/// among those. Leaves plans and what is proven in `findings`. \return kInfeasible where it is proven that there is
/// none \pre require_objectives_with_modes(options.objectives)
[[nodiscard]] PlanResult search_objectives_with_modes(const Problem& problem, const Budget& budget,
                                                      const PlannerOptions& options, const ShortestWithModes& shortest,
                                                      ModeFindings& findings);

/// States the objectives in the plan, which then is optimal if all of them are.
void state_objectives(const PlannerOptions& options, const ModeFindings::Copy& found, Plan& plan);

}  // namespace opweave
