/// The search for the least makespan, by the methods that the user allows.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "opweave/budget.h"
#include "opweave/exchange.h"
#include "opweave/plan.h"
#include "opweave/planner.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// What a search brings home.
struct Finding {
  PlanResult::Reason reason = PlanResult::Reason::kNotFound;
  std::optional<Schedule> schedule;  ///< accepted by `check`
  std::string method;                ///< what found it
  std::vector<LowerBound> bounds;    ///< on the makespan
  bool is_optimal = false;           ///< the makespan equals a bound
  std::string detail;                ///< why there is no schedule, or what kept a method from working
  std::vector<Incumbent> trajectory;
};

/// Searches for a short schedule until the budget ends, a bound is met, or the makespan is at most `target`. Where a
/// bound is above the target, there may be no schedule.
/// Objectives and deadline of the options are not looked at. Listens to `exchange`, but not where the problem is
/// planned in blocks.
[[nodiscard]] Finding minimise_makespan(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                                        std::optional<Duration> target = std::nullopt,
                                        const std::shared_ptr<Exchange>& exchange = nullptr);

}  // namespace opweave
