/// Improvement of where the layers of a training step lie.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "opweave/budget.h"
#include "opweave/planner.h"
#include "opweave/problem.h"
#include "planner/incumbent.h"
#include "planner/search_method.h"

namespace opweave {

/// Searches placements from the best starts of different placement, where TrainingPlacement applies, and adds what it
/// finds to them. Under a work limit the lanes and their seeds do not depend on the number of threads, so neither does
/// the result; under a time limit there is a lane per thread.
/// \param starts  best first; afterwards there may be more, best first again
/// \param work    evaluations of orders, where they are limited: the search takes what as many of them would
/// \return how many it took
[[nodiscard]] std::uint64_t improve_placements(const Problem& problem, const Budget& budget,
                                               const PlannerOptions& options, std::vector<Start>& starts,
                                               std::optional<std::uint64_t> work, IncumbentStore& incumbent);

}  // namespace opweave
