/// What a plan is meant to be good at.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/quantity.h"

namespace opweave {

struct Schedule;
struct PlanStatistics;
class Problem;

/// Each is an integer to be made small (docs/objectives.md).
enum class Objective : std::uint8_t {
  kMakespan,       ///< ns: end of the last task
  kPeriod,         ///< ns: largest load of a stream or channel over one iteration, per microbatch
  kPeakMemory,     ///< bytes: largest peak of any device
  kDevices,        ///< devices that run at least one task
  kCommunication,  ///< bytes: sum over all transfers
  kUtilisation,    ///< idle parts per billion of the compute streams: 1e9 x bubble ratio, rounded down
};
/// "makespan", "period", "peak-memory", "devices", "communication", "utilisation".
[[nodiscard]] std::string_view to_string(Objective objective);
/// Inverse of to_string; nothing for any other text.
[[nodiscard]] std::optional<Objective> objective_from_string(std::string_view text);
/// "ns", "bytes", "devices", "idle-ppb".
[[nodiscard]] std::string_view unit_of(Objective objective);

/// Objectives in order of importance from text like "peak-memory,makespan".
/// \throws InputError for an unknown name, a name given twice, or none.
[[nodiscard]] std::vector<Objective> parse_objectives(std::string_view text);

/// Value of an objective of a schedule. `statistics` are those of the schedule.
[[nodiscard]] std::int64_t objective_value(Objective objective, const Problem& problem, const Schedule& schedule,
                                           const PlanStatistics& statistics);

/// One objective of a plan: what was reached, and what cannot be beaten.
struct ObjectiveFigure {
  Objective objective = Objective::kMakespan;
  std::int64_t value = 0;  ///< in unit_of(objective)
  /// No valid plan that keeps the deadline and is as good in the objectives before has a smaller value.
  std::int64_t bound = 0;
  std::string proof;  ///< the argument for the bound; empty if the bound is 0 for want of a better one
};

}  // namespace opweave
