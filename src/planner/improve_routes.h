/// The routing search under a work limit.
#pragma once

#include <cstdint>
#include <memory>

#include "opweave/budget.h"
#include "opweave/planner.h"
#include "placement_search/routing_search.h"
#include "planner/construct.h"
#include "planner/incumbent.h"

namespace opweave {

/// Searches placement and order from a start with a fixed number of seeds, each with its part of the work, and offers
/// what they find. The result does not depend on the number of threads, and more work continues what less work did, so
/// it is never worse.
/// \return the best of them, or the start
Start improve_routes(const std::shared_ptr<const routing::Model>& model, const Budget& budget,
                     const PlannerOptions& options, const Start& start, std::uint64_t work, IncumbentStore& incumbent);

}  // namespace opweave
