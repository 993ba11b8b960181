/// What a search for the least makespan comes back with.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "opweave/budget.h"
#include "opweave/plan.h"
#include "opweave/planner.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"
#include "planner/incumbent.h"

namespace opweave {

/// What a search brings home.
struct Finding {
  PlanResult::Reason reason = PlanResult::Reason::kNotFound;
  std::optional<Schedule> schedule;  ///< accepted by `check`
  std::string method;                ///< what found it
  std::vector<LowerBound> bounds;    ///< on the makespan
  bool is_optimal = false;           ///< the makespan equals a bound
  std::string detail;                ///< why there is no schedule, or what kept a method from working
  std::vector<Improvement> trajectory;
};

/// Method of a plan that was given.
inline constexpr const char* kWarmStart = "warm start";

/// Proven: there is no plan.
[[nodiscard]] Finding infeasible(std::string why);

/// Takes what the store holds at the end, if it holds a plan.
void conclude(const IncumbentStore& incumbent, Finding& finding);

/// Where a search has ended without a plan, the question is left whether there is any (planner/any_plan.h): a plan goes
/// to the store, a proof into the finding; what is known instead otherwise stays as it is.
void settle(const Problem& problem, const Budget& budget, const PlannerOptions& options, IncumbentStore& incumbent,
            Finding& finding);

}  // namespace opweave
