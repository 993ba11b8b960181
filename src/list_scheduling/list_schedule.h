/// From a placement to a schedule.
#pragma once

#include <optional>
#include <vector>

#include "opweave/budget.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// The list schedule of a placement, by the first of the priority rules; nothing if the placement does not fit or lacks
/// a route. O((tasks + transfers) log n)
[[nodiscard]] std::optional<Schedule> list_schedule(const Problem& problem, std::vector<ModeIndex> modes);

/// The shortest under all priority rules, or under those that the clock of the budget leaves time for: at least one.
[[nodiscard]] std::optional<Schedule> shortest_list_schedule(const Problem& problem, std::vector<ModeIndex> modes,
                                                             const Budget& budget);

}  // namespace opweave
