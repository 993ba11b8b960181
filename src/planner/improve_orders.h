/// Improvement of first plans whose placement stays: the order search from the most promising of them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "opweave/budget.h"
#include "opweave/planner.h"
#include "opweave/problem.h"
#include "planner/construct.h"
#include "planner/incumbent.h"

namespace opweave {

/// Gives the best starts of different placements a trial, and the best of them the rest of the budget; offers what it
/// finds. Under a work limit the lanes of the search and their seeds do not depend on the number of threads, so neither
/// does the result; under a time limit there is a lane per thread.
/// \param starts  best first; afterwards what is better now, best first again
/// \param work    evaluations, where they are limited
void improve_orders(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                    std::vector<Start>& starts, std::optional<std::uint64_t> work, IncumbentStore& incumbent);

}  // namespace opweave
