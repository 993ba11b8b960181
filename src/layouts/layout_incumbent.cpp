#include "layouts/layout_incumbent.h"

#include <algorithm>
#include <utility>

#include "opweave/check_layouts.h"
#include "opweave/error.h"

namespace opweave {

LayoutFindings::Copy LayoutFindings::copy() const {
  const std::lock_guard lock(mutex_);
  return found_;
}

void LayoutFindings::add_bounds(const std::vector<LowerBound>& bounds) {
  const std::lock_guard lock(mutex_);
  found_.bounds.insert(found_.bounds.end(), bounds.begin(), bounds.end());
  std::ranges::stable_sort(found_.bounds, std::ranges::greater(), &LowerBound::value);
}

void LayoutFindings::replace(std::shared_ptr<const LayoutPlan> best, std::string method, double seconds) {
  const std::lock_guard lock(mutex_);
  found_.trajectory.push_back({seconds, best->plan.statistics.makespan, method});
  found_.best = std::move(best);
  found_.method = std::move(method);
}

LayoutPlan LayoutIncumbent::Best::plan() const {
  return movements ? derived.plan(*movements, schedule, {}, {}) : derived.plan(schedule, {}, {});
}

void LayoutIncumbent::add_bounds(const std::vector<LowerBound>& bounds) {
  for (const LowerBound& bound : bounds) lower_bound_ = std::max(lower_bound_, bound.value);
  findings_->add_bounds(bounds);
}

bool LayoutIncumbent::offer(Best candidate) {
  const auto plan = std::make_shared<const LayoutPlan>(candidate.plan());
  candidate.makespan = plan->plan.statistics.makespan;
  if (best_ && candidate.makespan >= best_->makespan) return false;
  for (const Violation& violation : check(problem_.graph(), problem_.cluster(), *plan)) {
    if (violation.rule == Rule::kHostMemory) return false;
    throw InternalError("check rejects the plan with options: " + violation.message);
  }
  best_ = std::move(candidate);
  findings_->replace(plan, best_->method, budget_.elapsed());
  if (options_.on_progress) {
    options_.on_progress({budget_.elapsed(), best_->makespan, lower_bound_, best_->method, nullptr, {}});
  }
  return true;
}

}  // namespace opweave
