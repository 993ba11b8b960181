/// Placement for steady throughput: the least period, whatever the makespan.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "opweave/budget.h"
#include "opweave/plan.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

struct PeriodOptions {
  std::uint64_t seed = 1;
};

/// A schedule with a small period, and what is proven about it.
struct PeriodAnswer {
  std::optional<Schedule> schedule;  ///< a claim until `check` has seen it; nothing if none was found
  Duration period;                   ///< of the schedule
  LowerBound bound;                  ///< on the period of every valid schedule
  bool proven = false;               ///< the period equals the bound
  std::string method;                ///< what found the placement
  std::uint64_t work = 0;            ///< moves that were tried
};

/// Searches for the placement with the least period - the largest load of a stream, or under contention of an endpoint
/// or link, per microbatch - and schedules it by list scheduling (docs/partition.md). Groups on gangs are not searched:
/// if some group has no mode on a single device, there is no schedule, only the bound. The same problem, seed and work
/// limit give the same schedule.
[[nodiscard]] PeriodAnswer minimise_period(const Problem& problem, const Budget& budget,
                                           const PeriodOptions& options = {});

}  // namespace opweave
