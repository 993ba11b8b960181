/// Preemptive one-machine schedules.
#pragma once

#include <vector>

#include "bounds/relaxation.h"

namespace opweave::bounds {

/// A job of one machine: it starts at `head` or later, and the plan ends at least `tail` after it.
struct Job {
  Nanoseconds head;
  Nanoseconds duration;
  Nanoseconds tail;
};

/// Largest end + tail of Jackson's preemptive schedule, in which the machine always runs the available
/// job with the longest tail. The optimum with preemption, hence a lower bound without (Jackson 1955;
/// Carlier 1982). O(n log n).
[[nodiscard]] Nanoseconds jackson_bound(std::vector<Job> jobs);

}  // namespace opweave::bounds
