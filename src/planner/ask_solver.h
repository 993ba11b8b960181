/// Objectives that do not depend on times, by the complete constraint program.
#pragma once

#include <optional>

#include "exact/any_schedule.h"
#include "opweave/budget.h"
#include "opweave/planner.h"
#include "planner/goal_store.h"
#include "planner/objective_bounds.h"
#include "planner/restrict.h"

namespace opweave {

/// Only where the method allows a solver, and without a clock small problems alone: offers what it finds to the store
/// and raises the bound. The program knows orders and all of the memory, so it often closes what relaxations leave
/// open. \param proven  all plans that count, and perhaps more \return kNone where no plan of `proven` ends by the
/// deadline
exact::AnySchedule::Verdict ask_solver(exact::UntimedGoal goal, const RestrictedProblem& proven,
                                       std::optional<Duration> deadline, const Budget& budget,
                                       const PlannerOptions& options, GoalStore& store, ObjectiveBound& bound);

}  // namespace opweave
