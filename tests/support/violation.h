/// What the validator says of a schedule.
#pragma once

#include <string>

#include "opweave/check.h"
#include "opweave/plan.h"

namespace opweave::testing {

/// First violation of the plan that the schedule makes; empty if it is valid.
inline std::string violation(const Problem& problem, const Schedule& schedule) {
  const auto violations = check(problem.graph(), problem.cluster(), make_plan(problem, schedule, {}, {}), 1);
  return violations.empty() ? "" : violations.front().message;
}

}  // namespace opweave::testing
