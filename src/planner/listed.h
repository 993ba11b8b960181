/// From a placement to a schedule.
#pragma once

#include <optional>
#include <vector>

#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// The list schedule of a placement, by the first of the priority rules; nothing if the placement does not fit or lacks
/// a route. O((tasks + transfers) log n)
[[nodiscard]] std::optional<Schedule> listed(const Problem& problem, std::vector<ModeIndex> modes);

}  // namespace opweave
