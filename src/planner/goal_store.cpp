#include "planner/goal_store.h"

#include "planner/incumbent.h"

namespace opweave {

GoalStore::GoalStore(const Problem& problem, const Budget& budget, std::vector<Objective> objectives,
                     std::optional<Duration> deadline, std::function<void(const Progress&)> on_progress)
    : problem_(problem),
      budget_(budget),
      objectives_(std::move(objectives)),
      deadline_(deadline),
      on_progress_(std::move(on_progress)) {}

std::vector<std::int64_t> GoalStore::values_of(const Schedule& schedule, const PlanStatistics& statistics) const {
  std::vector<std::int64_t> values;
  for (const Objective objective : objectives_) {
    values.push_back(objective_value(objective, problem_, schedule, statistics));
  }
  return values;
}

bool GoalStore::offer(const Schedule& schedule, const std::string& method) {
  PlanStatistics figures = statistics(problem_, schedule);
  if (deadline_ && figures.makespan > *deadline_) return false;
  std::vector<std::int64_t> values = values_of(schedule, figures);
  if (schedule_ && values >= values_) return false;
  if (!is_valid(problem_, schedule)) return false;
  schedule_ = schedule;
  statistics_ = std::move(figures);
  values_ = std::move(values);
  method_ = method;
  trajectory_.push_back({budget_.elapsed(), statistics_.makespan, method});
  if (on_progress_) on_progress_({budget_.elapsed(), statistics_.makespan, Duration(), method, &*schedule_, {}});
  return true;
}

std::int64_t GoalStore::value(Objective objective) const {
  return objective_value(objective, problem_, *schedule_, statistics_);
}

}  // namespace opweave
