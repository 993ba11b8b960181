/// The search for the least makespan, by the methods that the user allows.
#pragma once

#include <optional>
#include <span>

#include "planner/finding.h"
#include "planner/method_table.h"

namespace opweave {

/// Searches for a short schedule until the budget ends, a bound is met, or the makespan is at most `target`. Where a
/// bound is above the target, there may be no schedule.
/// Objectives and deadline of the options are not looked at.
/// \param methods  what is run where the options do not ask for one complete program alone
[[nodiscard]] Finding minimise_makespan(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                                        std::optional<Duration> target = std::nullopt,
                                        std::span<const MethodRow> methods = search_methods());

}  // namespace opweave
