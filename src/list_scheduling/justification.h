/// Schedules justified from both ends.
#pragma once

#include <cstdint>
#include <vector>

#include "list_scheduling/placed_problem.h"
#include "opweave/budget.h"

namespace opweave {

/// Forward-backward improvement (docs/list-scheduling.md): a list schedule of the mirrored problem in which what ends
/// last is the most urgent, then one of the problem in which what starts first is, and so on while they get shorter.
/// \param starts  of all activities in a valid schedule
/// \param budget  no pass is begun that would, if it took as long as the one before, end after it
/// \return starts of a schedule that is at most as long. O((activities + edges) log activities) per pass.
[[nodiscard]] std::vector<std::int64_t> justify(const PlacedProblem& placed, std::vector<std::int64_t> starts,
                                                const Budget& budget);

/// End of the last activity.
[[nodiscard]] std::int64_t length(const PlacedProblem& placed, const std::vector<std::int64_t>& starts);

}  // namespace opweave
