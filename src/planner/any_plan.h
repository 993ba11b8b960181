/// Some plan, however long, where construction found none; or a proof that there is none.
#pragma once

#include <optional>
#include <string>

#include "opweave/budget.h"
#include "opweave/planner.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

struct AnyPlan {
  std::optional<Schedule> schedule;  ///< accepted by `check`
  std::string method;                ///< what found it
  bool is_infeasible = false;        ///< proven: no valid plan exists
  std::string detail;                ///< the cause of that, or why nothing is known
};

/// A search for what fits, and the solver: of small problems the solver decides whatever the work limit, of others both
/// take turns until there is an answer or the limits are reached (docs/feasibility.md). The same problem, seed and work
/// limit give the same answer.
/// \param options  the method decides whether a solver may be asked
[[nodiscard]] AnyPlan find_any_plan(const Problem& problem, const Budget& budget, const PlannerOptions& options);

}  // namespace opweave
