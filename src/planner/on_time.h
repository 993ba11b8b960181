/// Answers that come when they are due.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "opweave/budget.h"
#include "opweave/plan.h"
#include "opweave/planner.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// The best that a search has told of.
struct Told {
  Schedule schedule;  ///< accepted by `check`
  std::string method;
  std::vector<LowerBound> bounds;
  std::vector<Improvement> trajectory;
};

/// A complete search. It tells of what it finds by on_progress of its options, and looks at nothing but its arguments.
using Search = std::function<PlanResult(const Problem&, const Budget&, const PlannerOptions&)>;

/// Runs a search in a thread of its own and comes back when the budget has ended, whatever the search does then: where
/// it does not end within a moment it is left behind, and the answer is what `conclude` makes of the best schedule that
/// it has told of. Where there is none, it is waited for until the very end of what a limit allows.
/// Where memory runs out, that is the limit which ends the search. Other exceptions of the search are thrown on.
/// `meanwhile` is called once, in the caller's thread, when the search has begun: for what the answer needs besides.
[[nodiscard]] PlanResult on_time(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                                 const Search& search, const std::function<void()>& meanwhile,
                                 const std::function<PlanResult(std::optional<Told>)>& conclude);

}  // namespace opweave
