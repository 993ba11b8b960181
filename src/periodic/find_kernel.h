/// The search for a kernel of short period.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "opweave/problem.h"
#include "opweave/schedule.h"
#include "periodic/kernel.h"

namespace opweave::periodic {

/// Time between one repetition and the next, on average over the middle half of a schedule.
[[nodiscard]] Time distance_of_repetitions(const Problem& problem, const Schedule& schedule);

/// Kernels that have the placement and the orders of a schedule's middle: each is a valid kernel of the shortest period
/// at which these orders fit in memory. \param whole  the problem whose iterations are wanted \param problem  the same
/// with as many or fewer microbatches \param schedule  of `problem`, valid
[[nodiscard]] std::optional<Kernel> kernel_from_schedule(const Problem& whole, const Problem& problem,
                                                         const Schedule& schedule);

/// How long the whole gets like a schedule of a shorter iteration: each further microbatch takes the distance of those
/// that are there, but no less than the load of the placement allows, however its ramps end. An estimate.
[[nodiscard]] Duration makespan_of_whole_like(const Problem& whole, const Problem& problem, const Schedule& schedule);

}  // namespace opweave::periodic
