#include "memory_modes/mode_incumbent.h"

#include <algorithm>
#include <utility>

#include "opweave/check.h"
#include "opweave/error.h"

namespace opweave {

ModeFindings::Copy ModeFindings::copy() const {
  const std::lock_guard lock(mutex_);
  return found_;
}

void ModeFindings::add_bounds(std::vector<LowerBound> bounds) {
  const std::lock_guard lock(mutex_);
  found_.bounds.insert(found_.bounds.end(), bounds.begin(), bounds.end());
  std::ranges::stable_sort(found_.bounds, std::ranges::greater(), &LowerBound::value);
}

void ModeFindings::prove(Objective objective, std::int64_t bound, std::string proof) {
  const std::lock_guard lock(mutex_);
  found_.proofs[objective].raise(bound, std::move(proof));
}

void ModeFindings::replace(Best best, double seconds) {
  const std::lock_guard lock(mutex_);
  found_.trajectory.push_back({seconds, best.makespan, best.method});
  found_.best = std::move(best);
}

bool ModeIncumbent::offer(const ProblemWithMovements& derived, const Schedule& schedule, const std::string& method) {
  const Duration makespan = schedule.makespan(derived.problem());
  if (best_ && makespan >= best_->makespan) return false;
  auto plan = std::make_shared<const Plan>(derived.plan(schedule, {}, {}));
  const auto violations = check(problem_.graph(), problem_.cluster(), *plan);
  for (const Violation& violation : violations) {
    if (violation.rule != Rule::kHostMemory) {
      throw InternalError("check rejects the plan with memory modes: " + violation.message);
    }
  }
  if (!violations.empty()) return false;
  best_ = {derived, schedule, makespan, method, std::move(plan)};
  findings_->replace(*best_, budget_.elapsed());
  if (options_.on_progress) {
    options_.on_progress({budget_.elapsed(), makespan, lower_bound_, method, &best_->schedule, {}});
  }
  return true;
}

void ModeIncumbent::tell(Duration makespan, const std::string& method) const {
  if (!options_.on_progress) return;
  if (best_) makespan = std::min(makespan, best_->makespan);
  options_.on_progress({budget_.elapsed(), makespan, lower_bound_, method, nullptr, {}});
}

}  // namespace opweave
