#include "planner/ask_solver.h"

namespace opweave {

exact::AnySchedule::Verdict ask_solver(exact::UntimedGoal goal, const RestrictedProblem& proven,
                                       std::optional<Duration> deadline, const Budget& budget,
                                       const PlannerOptions& options, GoalStore& store, ObjectiveBound& bound) {
  constexpr double kShare = 0.3;  // of what is left of the time
  constexpr std::size_t kMostIntervals = 50'000;
  if (options.method == Method::kHeuristic) return exact::AnySchedule::Verdict::kUndecided;
  exact::AnyScheduleOptions asked;
  asked.goal = goal;
  asked.deadline = deadline;
  asked.seed = options.seed;
  asked.most_intervals = kMostIntervals;
  const bool by_clock = budget.remaining() && !budget.work_limit();
  const exact::AnySchedule answer = by_clock ? exact::find_any_schedule(proven.problem(), budget.share(kShare), asked)
                                             : exact::ask_if_small(proven.problem(), budget, asked);
  if (answer.schedule) store.offer(proven.widen(*answer.schedule), "cp-sat");
  if (answer.bound) bound.raise(*answer.bound, "constraint program");
  return answer.verdict;
}

}  // namespace opweave
