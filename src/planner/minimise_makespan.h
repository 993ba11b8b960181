/// The search for the least makespan, by the methods that the user allows.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "opweave/exchange.h"
#include "planner/finding.h"
#include "planner/method_table.h"

namespace opweave {

/// Searches for a short schedule until the budget ends, a bound is met, or the makespan is at most `target`. Where a
/// bound is above the target, there may be no schedule.
/// Objectives and deadline of the options are not looked at.
/// \param exchange  listened to, but not where the problem is planned in blocks
/// \param methods  what is run where the options do not ask for one complete program alone
[[nodiscard]] Finding minimise_makespan(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                                        std::optional<Duration> target = std::nullopt,
                                        const std::shared_ptr<Exchange>& exchange = nullptr,
                                        std::span<const MethodRow> methods = search_methods());

}  // namespace opweave
