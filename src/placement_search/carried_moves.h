/// Layers moved between devices in a good schedule, whose order they keep.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>

#include "opweave/budget.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

struct CarriedMovesOptions {
  std::uint64_t seed = 1;
  /// Evaluations of orders, where they are limited: a placement tried counts as as many as it takes the time of. With
  /// this limit and no deadline the result depends on problem, start, seed and limit alone.
  std::uint64_t max_evaluations = std::numeric_limits<std::uint64_t>::max();
};

/// Moves bundles of a training step (docs/placement-search.md): each move keeps the order of the schedule, which is
/// then improved for a moment, and is taken if the step gets no longer. Ends with the limits, or when moves do not get
/// on any more. Bundles that lie on gangs, or apart, stay.
/// \pre TrainingPlacement::applies_to(problem); start is valid for it
/// \param on_improvement  called with every shorter schedule, each valid; may be empty
/// \return a valid schedule at most as long as start
[[nodiscard]] Schedule move_bundles(const Problem& problem, const Schedule& start, const Budget& budget,
                                    const CarriedMovesOptions& options,
                                    const std::function<void(const Schedule&)>& on_improvement);

}  // namespace opweave
