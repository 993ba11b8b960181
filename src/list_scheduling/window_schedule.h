/// A list schedule of a placement whose microbatches a window lets in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "list_scheduling/in_flight_window.h"
#include "opweave/problem.h"

namespace opweave {

struct WindowSchedule {
  std::vector<std::int64_t> starts;  ///< of all items of the PlacedProblem of these modes
  std::string rule;                  ///< name of the priority rule
};

/// Nothing if the placement lacks a route or fits in no serial order under the window. To be pushed together without it
/// (justify()). \param rule  one of kWindowRules. O((tasks + transfers) log n)
[[nodiscard]] std::optional<WindowSchedule> schedule_in_window(const Problem& problem,
                                                               const std::vector<ModeIndex>& modes,
                                                               const InFlightWindow& window, std::size_t rule);

}  // namespace opweave
