#include "layouts/layout_incumbent.h"

#include <algorithm>
#include <utility>

#include "opweave/check_layouts.h"
#include "opweave/error.h"

namespace opweave {

LayoutPlan LayoutIncumbent::Best::plan(std::vector<LowerBound> bounds, Provenance provenance) const {
  return movements ? derived.plan(*movements, schedule, std::move(bounds), std::move(provenance))
                   : derived.plan(schedule, std::move(bounds), std::move(provenance));
}

bool LayoutIncumbent::offer(Best candidate) {
  const LayoutPlan plan = candidate.plan({}, {});
  candidate.makespan = plan.plan.statistics.makespan;
  if (best_ && candidate.makespan >= best_->makespan) return false;
  for (const Violation& violation : check(problem_.graph(), problem_.cluster(), plan)) {
    if (violation.rule == Rule::kHostMemory) return false;
    throw InternalError("check rejects the plan with options: " + violation.message);
  }
  best_ = std::move(candidate);
  trajectory_.push_back({budget_.elapsed(), best_->makespan, best_->method});
  if (options_.on_progress) {
    options_.on_progress({budget_.elapsed(), best_->makespan, lower_bound_, best_->method, nullptr, {}});
  }
  return true;
}

}  // namespace opweave
