/// Placements in which the devices are lined up: every precedence goes from a device to itself or to a later one.
#pragma once

#include <cstdint>
#include <optional>

#include "opweave/budget.h"
#include "partition/cut_model.h"

namespace opweave::partition {

/// What a search for the least largest load found.
struct OrderedAnswer {
  std::optional<Assignment> assignment;
  double value = std::numeric_limits<double>::infinity();
  bool proven = false;     ///< no assignment with lined-up devices is below `value` (none exists, if it is infinite)
  std::uint64_t work = 0;  ///< sets of vertices that were looked at
};

/// The best assignment among those that cut some topological orders of the vertices into consecutive parts. Quick.
/// O(orders x vertices^2 x product over kinds of their devices); when the time is over, parts filled one after the
/// other.
[[nodiscard]] OrderedAnswer cut_orders(const CutModel& model, const Budget& budget = {});

/// The best assignment, by dynamic programming over the ideals of the precedence (sets closed under predecessors),
/// forward from the empty one, with bounds (docs/partition.md). Exponential in the width of the graph at worst; stops
/// at `budget` (its work limit counts looked-at sets) or at `most_entries` ideals x numbers of used devices, with the
/// best assignment so far.
[[nodiscard]] OrderedAnswer best_ordered(const CutModel& model, const Budget& budget,
                                         std::size_t most_entries = 30'000'000);

}  // namespace opweave::partition
