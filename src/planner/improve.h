/// Improvement of first plans until the budget ends.
#pragma once

#include <cstdint>

#include "opweave/budget.h"
#include "opweave/planner.h"
#include "planner/construct.h"
#include "planner/incumbent.h"
#include "planner/problem_traits.h"

namespace opweave {

/// Searches from the starts of a construction and offers what it finds. Under a work limit the lanes of the search and
/// their seeds do not depend on the number of threads, so neither does the result; under a time limit
/// there is a lane per thread. `work` evaluations are what the work limit leaves.
void improve(const ProblemTraits& traits, const Budget& budget, const PlannerOptions& options,
             const Construction& construction, std::optional<std::uint64_t> work, IncumbentStore& incumbent);

}  // namespace opweave
