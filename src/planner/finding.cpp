#include "planner/finding.h"

#include <utility>

#include "planner/any_plan.h"

namespace opweave {

Finding infeasible(std::string why) {
  Finding finding;
  finding.reason = PlanResult::Reason::kInfeasible;
  finding.detail = std::move(why);
  return finding;
}

void conclude(const IncumbentStore& incumbent, Finding& finding) {
  if (!incumbent.makespan()) return;
  finding.reason = PlanResult::Reason::kPlanned;
  finding.schedule = incumbent.schedule();
  finding.method = incumbent.method();
  finding.trajectory = incumbent.trajectory();
}

void settle(const Problem& problem, const Budget& budget, const PlannerOptions& options, IncumbentStore& incumbent,
            Finding& finding) {
  AnyPlan any = find_any_plan(problem, budget, options);
  if (any.schedule) {
    if (finding.reason == PlanResult::Reason::kInfeasible) finding = {};  // then nothing it said can be trusted
    incumbent.offer(*any.schedule, any.method);
  } else if (any.is_infeasible) {
    finding = infeasible(std::move(any.detail));
  } else if (finding.detail.empty()) {
    finding.detail = std::move(any.detail);
  }
}

}  // namespace opweave
