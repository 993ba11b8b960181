#include "layouts/layout_incumbent.h"

#include "opweave/check_layouts.h"
#include "opweave/error.h"

namespace opweave {

bool LayoutIncumbent::offer(const DerivedProblem& derived, const Schedule& schedule, const std::string& method) {
  const LayoutPlan plan = derived.plan(schedule, {}, {});
  const Duration makespan = plan.plan.statistics.makespan;
  if (best_ && makespan >= best_->makespan) return false;
  const auto violations = check(problem_.graph(), problem_.cluster(), plan, 1);
  if (!violations.empty()) throw InternalError("check rejects the plan with options: " + violations.front().message);
  best_ = {derived, schedule, makespan, method};
  trajectory_.push_back({budget_.elapsed(), makespan, method});
  if (options_.on_progress) options_.on_progress({budget_.elapsed(), makespan, lower_bound_, method, nullptr, {}});
  return true;
}

}  // namespace opweave
