/// Answers that come when they are due.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "opweave/budget.h"
#include "opweave/plan.h"
#include "opweave/planner.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// What work in a thread of its own and the one who waits for it share; lives until both are done with it.
struct SearchDesk {
  std::atomic<bool> stop = false;  ///< the work is to end

  std::mutex mutex;
  std::condition_variable changed;
  bool is_closed = false;  ///< nobody waits any more
  bool has_ended = false;
  bool is_out_of_memory = false;
  std::exception_ptr failure;
  std::optional<double> told_at;  ///< seconds of the budget at which there was a first plan
};

/// Looks at nothing but its argument, which stops it, and what it owns.
using Work = std::function<void(const Budget&)>;

/// Does work in a thread of its own and comes back when it or the budget has ended. Where it does not end within a
/// moment of that it is left behind; without a first plan it is waited for until the very end of what a limit allows,
/// less `seconds_to_write` where the caller keeps time. \return whether the work has ended
/// Where memory runs out it has ended and the desk says so; other exceptions of the work are thrown on.
/// `meanwhile` is called once, in the caller's thread, when the work has begun: for what the answer needs besides.
[[nodiscard]] bool end_on_time(const std::shared_ptr<SearchDesk>& desk, const Budget& budget, double seconds_to_write,
                               const Work& work, const std::function<void()>& meanwhile);

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
/// Where memory runs out, that is the limit which ends the search. Other exceptions, and `meanwhile`: as above.
[[nodiscard]] PlanResult on_time(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                                 const Search& search, const std::function<void()>& meanwhile,
                                 const std::function<PlanResult(std::optional<Told>)>& conclude);

}  // namespace opweave
