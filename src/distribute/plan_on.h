/// One planning problem on many workers.
#pragma once

#include "distribute/place.h"
#include "opweave/planner.h"

namespace opweave::distribute {

/// Searches side by side, one of each seed from options.seed on, with methods that take turns where the method is auto
/// (docs/distributed.md). By the clock they share the incumbent and the bound, and there are as many as workers; under
/// a work limit each works for itself, so that the result is the same whatever the workers are. The plan is the best of
/// all, with the greatest of all bounds, checked here. \pre the makespan is the only objective, without deadline
/// \param searches  under a work limit, each with all of it; \param workers 0 = as many as the place has cores
/// \throws InputError as plan(), or about the place
[[nodiscard]] PlanResult plan_on(const Place& place, std::size_t workers, std::size_t searches, const Problem& problem,
                                 const Budget& budget, const PlannerOptions& options);

}  // namespace opweave::distribute
