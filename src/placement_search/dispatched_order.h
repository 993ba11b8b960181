/// The schedule in the order in which a dispatch runs a training step.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "list_scheduling/placed_problem.h"
#include "placement_search/step_dispatch.h"

namespace opweave {

/// Starts of all activities when every stream takes its work in the order of the last dispatch, and transfers arrive
/// when the first of their users wants them. Nothing where that does not fit in memory, or not all microbatches were
/// dispatched. \pre the dispatch had a length for the placement, and its microbatches are the first of each replica
[[nodiscard]] std::optional<std::vector<std::int64_t>> schedule_as_dispatched(const PlacedProblem& placed,
                                                                              const StepDispatch& dispatch);

}  // namespace opweave
