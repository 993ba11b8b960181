/// The fewest bytes that a plan moves.
#pragma once

#include <optional>

#include "opweave/budget.h"
#include "opweave/planner.h"
#include "opweave/problem.h"
#include "planner/goal_store.h"
#include "planner/objective_bounds.h"
#include "planner/restrict.h"

namespace opweave {

/// Among which plans the fewest bytes are looked for.
struct CommunicationQuestion {
  const RestrictedProblem& proven;      ///< all plans that count, and perhaps more: for bounds
  const RestrictedProblem& restricted;  ///< plans that count
  std::optional<Duration> deadline;
  bool placement_is_fixed = false;  ///< then only the bound is of interest
};

/// Offers plans that move ever fewer bytes to the store until a bound is met or the budget ends.
/// \pre the store has a schedule
[[nodiscard]] ObjectiveBound minimise_communication(const CommunicationQuestion& question, const Budget& budget,
                                                    const PlannerOptions& options, GoalStore& store);

}  // namespace opweave
