/// From orders to times: the earliest schedule that keeps every order of a given one.
#pragma once

#include <optional>

#include "exact/order_graph.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave::exact {

/// Starts everything as early as the orders of `given` allow, in whole nanoseconds: the order on each
/// stream and channel, and on devices where that would not fit in memory also the order of allocations
/// and of what was released before them. Memory then never holds more than it did at some moment of
/// `given`, so a schedule that is valid up to rounding becomes a valid one.
/// \return nothing if a transfer is missing, the orders contradict each other, or memory does not fit.
/// O(n log n) for n tasks, transfers and edges, once or a few times.
[[nodiscard]] std::optional<Schedule> retime(const Problem& problem, const RoughSchedule& given);

/// The same for a valid schedule: never longer.
/// \throws InternalError if the schedule is not valid (not every invalid schedule is noticed).
[[nodiscard]] Schedule left_shift(const Problem& problem, const Schedule& schedule);

}  // namespace opweave::exact
