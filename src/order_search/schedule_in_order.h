/// The schedule that an order says.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "list_scheduling/placed_problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// Every stream, port and link takes its work in the order of `wishes`, and everything starts as early as that allows.
/// What must precede comes first, whatever its wish. Nothing where the order does not fit in memory.
/// O((activities + edges) log activities) \pre wishes has an entry per activity
[[nodiscard]] std::optional<Schedule> schedule_in_order(const PlacedProblem& placed,
                                                        std::span<const std::int64_t> wishes);

}  // namespace opweave
