#include "memory_modes/mode_incumbent.h"

#include <algorithm>

#include "opweave/check.h"
#include "opweave/error.h"

namespace opweave {

bool ModeIncumbent::offer(const ProblemWithMovements& derived, const Schedule& schedule, const std::string& method) {
  const Duration makespan = schedule.makespan(derived.problem());
  if (best_ && makespan >= best_->makespan) return false;
  const auto violations = check(problem_.graph(), problem_.cluster(), derived.plan(schedule, {}, {}));
  for (const Violation& violation : violations) {
    if (violation.rule != Rule::kHostMemory) {
      throw InternalError("check rejects the plan with memory modes: " + violation.message);
    }
  }
  if (!violations.empty()) return false;
  best_ = {derived, schedule, makespan, method};
  trajectory_.push_back({budget_.elapsed(), makespan, method});
  tell(makespan, method);
  return true;
}

void ModeIncumbent::tell(Duration makespan, const std::string& method) const {
  if (!options_.on_progress) return;
  if (best_) makespan = std::min(makespan, best_->makespan);
  options_.on_progress({budget_.elapsed(), makespan, lower_bound_, method, nullptr, {}});
}

}  // namespace opweave
