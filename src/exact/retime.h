/// From orders to times: the earliest schedule that keeps every order of a given one.
#pragma once

#include <optional>
#include <vector>

#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave::exact {

/// A schedule as a solver with floating-point numbers states it. Times are nanoseconds, right up to
/// `tolerance`; two moments that are closer count as one.
struct RoughSchedule {
  struct Transfer {
    ValueId value;
    DeviceId source;
    DeviceId destination;
    double start = 0;
  };
  std::vector<ModeIndex> modes;  ///< by TaskId
  std::vector<double> starts;    ///< by TaskId
  /// Those that no consumer needs are dropped.
  std::vector<Transfer> transfers;
  double tolerance = 0.25;
};

/// Starts everything as early as the orders of `rough` allow, in whole nanoseconds: the order on each
/// stream and channel, and on devices where that would not fit in memory also the order of allocations
/// and of what was released before them. Memory then never holds more than it did at some moment of
/// `rough`, so a schedule that is valid up to rounding becomes a valid one.
/// \return nothing if a transfer is missing, the orders contradict each other, or memory does not fit.
/// O(n log n) for n tasks, transfers and edges, once or a few times.
[[nodiscard]] std::optional<Schedule> retime(const Problem& problem, const RoughSchedule& rough);

/// The same for a valid schedule: never longer.
[[nodiscard]] Schedule left_shift(const Problem& problem, const Schedule& schedule);

}  // namespace opweave::exact
