#include "planner/incumbent.h"

#include <algorithm>
#include <functional>

#include "opweave/check.h"
#include "opweave/error.h"

namespace opweave {

bool is_valid(const Problem& problem, const Schedule& schedule) {
  return check(problem.graph(), problem.cluster(), make_plan(problem, schedule, {}, {}), 1).empty();
}

IncumbentStore::IncumbentStore(const Problem& problem, const Budget& budget,
                               std::function<void(const Progress&)> on_progress)
    : problem_(problem), budget_(budget), on_progress_(std::move(on_progress)) {}

IncumbentStore::IncumbentStore(const IncumbentStore& from, const Budget& budget)
    : problem_(from.problem_), budget_(budget) {
  const std::lock_guard lock(from.mutex_);
  proven_ = from.proven_;
  claimed_ = from.claimed_;
  lower_bound_ = from.lower_bound_;
  schedule_ = from.schedule_;
  makespan_ = from.makespan_;
  method_ = from.method_;
}

void IncumbentStore::state_bounds(std::vector<LowerBound> bounds) {
  proven_ = std::move(bounds);
  find_lower_bound();
  if (!schedule_) return;
  if (makespan_ < lower_bound_) throw InternalError("a lower bound is above the makespan of a valid plan");
  if (makespan_ == lower_bound_) is_final_ = true;
  tell();
}

void IncumbentStore::tell() const {
  if (!on_progress_ || !schedule_) return;
  on_progress_({budget_.elapsed(), makespan_, lower_bound_, method_, &*schedule_, all_bounds()});
}

void IncumbentStore::find_lower_bound() {
  lower_bound_ = {};
  for (const LowerBound& bound : proven_) lower_bound_ = std::max(lower_bound_, bound.value);
  for (const LowerBound& bound : claimed_) lower_bound_ = std::max(lower_bound_, bound.value);
}

bool IncumbentStore::offer(const Schedule& schedule, const std::string& method) {
  const Duration makespan = schedule.makespan(problem_);
  {
    const std::lock_guard lock(mutex_);
    if (schedule_ && makespan >= makespan_) return false;
  }
  // The slow part runs unlocked; another thread may win meanwhile.
  const Plan plan = make_plan(problem_, schedule, proven_, {});
  const std::vector<Violation> violations = check(problem_.graph(), problem_.cluster(), plan, 1);
  const std::lock_guard lock(mutex_);
  if (!violations.empty()) {
    last_rejection_ = method + ": " + violations.front().message;
    return false;
  }
  if (schedule_ && makespan >= makespan_) return false;
  if (makespan < lower_bound_) {
    std::erase_if(claimed_, [&](const LowerBound& bound) { return bound.value > makespan; });
    find_lower_bound();
  }
  schedule_ = schedule;
  makespan_ = makespan;
  method_ = method;
  trajectory_.push_back({budget_.elapsed(), makespan, method});
  tell();
  if (makespan_ == lower_bound_ || budget_.expired()) is_final_ = true;
  return true;
}

bool IncumbentStore::raise_bound(LowerBound bound) {
  const std::lock_guard lock(mutex_);
  if (bound.value <= lower_bound_ || (schedule_ && bound.value > makespan_)) return false;
  lower_bound_ = bound.value;
  std::erase_if(claimed_, [&](const LowerBound& weaker) { return weaker.name == bound.name; });
  claimed_.push_back(std::move(bound));
  if (schedule_ && makespan_ == lower_bound_) is_final_ = true;
  tell();
  return true;
}

Duration IncumbentStore::lower_bound() const {
  const std::lock_guard lock(mutex_);
  return lower_bound_;
}

std::vector<LowerBound> IncumbentStore::bounds() const {
  const std::lock_guard lock(mutex_);
  return all_bounds();
}

std::vector<LowerBound> IncumbentStore::all_bounds() const {
  std::vector<LowerBound> bounds = proven_;
  bounds.insert(bounds.end(), claimed_.begin(), claimed_.end());
  std::ranges::stable_sort(bounds, std::greater<>(), &LowerBound::value);
  return bounds;
}

std::optional<Duration> IncumbentStore::makespan() const {
  const std::lock_guard lock(mutex_);
  return schedule_ ? std::optional(makespan_) : std::nullopt;
}

Schedule IncumbentStore::schedule() const {
  const std::lock_guard lock(mutex_);
  return *schedule_;
}

std::string IncumbentStore::method() const {
  const std::lock_guard lock(mutex_);
  return method_;
}

bool IncumbentStore::is_optimal() const {
  const std::lock_guard lock(mutex_);
  return schedule_ && makespan_ == lower_bound_;
}

std::vector<Improvement> IncumbentStore::trajectory() const {
  const std::lock_guard lock(mutex_);
  return trajectory_;
}

std::string IncumbentStore::last_rejection() const {
  const std::lock_guard lock(mutex_);
  return last_rejection_;
}

}  // namespace opweave
