/// A list schedule of a placement whose microbatches a limit lets in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "list_scheduling/in_flight_limit.h"
#include "opweave/problem.h"

namespace opweave {

struct LimitedSchedule {
  std::vector<std::int64_t> starts;  ///< of all activities of the PlacedProblem of these modes
  std::string rule;                  ///< name of the priority rule
};

/// Nothing if the placement lacks a route or fits in no serial order under the limit. To be justified without it
/// (justify()). \param rule  one of kLimitRules. O((tasks + transfers) log n)
[[nodiscard]] std::optional<LimitedSchedule> schedule_within_limit(const Problem& problem,
                                                                   const std::vector<ModeIndex>& modes,
                                                                   const InFlightLimit& limit, std::size_t rule);

}  // namespace opweave
