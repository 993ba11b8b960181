/// Improvement of a schedule whose placement is fixed: the order of the work on every stream and link.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "opweave/budget.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// What a task is once more, in a problem whose graph does not say it.
struct Likeness {
  std::uint32_t copy = 0;    ///< microbatch
  std::uint32_t kind = 0;    ///< the same for tasks that differ in their microbatch alone
  bool brings_back = false;  ///< it is moved apart from the backward pass that it serves
};

struct OrderSearchOptions {
  std::uint64_t seed = 1;
  /// Candidate orders to time before stopping; the search cools down over them. With this limit and no deadline
  /// the result depends on problem, start, seed and limit alone.
  std::uint64_t max_evaluations = std::numeric_limits<std::uint64_t>::max();
  /// Temperature at the beginning, in mean durations of a task: how much of the start may be given up.
  double initial_temperature = 4;
  /// By task, where microbatches were unfolded: moves are by microbatch all the same. Empty = as the problem says.
  std::vector<Likeness> likeness = {};
};

/// Searches for a shorter schedule with the modes of `start` (docs/order-search.md): simulated annealing over
/// global orders, timed as early as streams, contention and memory allow. Stops at the evaluations, at the
/// deadline or stop flag of `budget`, whichever comes first; with neither limit after a fixed effort.
/// \pre start is valid for problem.
/// \param on_improvement  called with every new best schedule, each valid and shorter than the one before; may be
/// empty. \return a valid schedule with the modes of start and at most its makespan.
[[nodiscard]] Schedule improve_order(const Problem& problem, const Schedule& start, const Budget& budget,
                                     const OrderSearchOptions& options,
                                     const std::function<void(const Schedule&)>& on_improvement);

}  // namespace opweave
