/// The search for the least makespan where blocks run in pieces.
#pragma once

#include <optional>

#include "planner/minimise_makespan.h"

namespace opweave {

/// As minimise_makespan(), among schedules in pieces (docs/blocks.md): searches the problem of the pieces and returns
/// a schedule of the whole. Bounds hold for all schedules in pieces; those that need it say so in their names.
/// \pre  the settings of the problem ask for blocks
/// \throws InputError as BlockProblem
[[nodiscard]] Finding minimise_in_blocks(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                                         std::optional<Duration> target);

}  // namespace opweave
