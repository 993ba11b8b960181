/// List scheduling that never runs into a memory deadlock.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "list_scheduling/placed_problem.h"
#include "list_scheduling/reference_order.h"

namespace opweave {

/// Start of each activity (ns) when devices, streams and links always take the most urgent activity that is
/// ready and admitted; small priorities are urgent. An activity is admitted only if afterwards everything
/// else could still be run one at a time in the reference order within every capacity (a banker's
/// test, docs/list-scheduling.md), so the schedule always completes.
/// O((activities + edges) log activities), times the few candidates that are looked at per decision.
/// \pre reference.fits; priority has an entry per activity.
[[nodiscard]] std::vector<std::int64_t> list_schedule(const PlacedProblem& placed, const ReferenceOrder& reference,
                                                      std::span<const std::int64_t> priority);

}  // namespace opweave
