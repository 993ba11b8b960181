/// Serial orders that need little memory: what a schedule can always fall back to.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "list_scheduling/placed_problem.h"

namespace opweave {

/// A topological order of all activities, to be run one at a time, with each transfer just before its first
/// consumer on the destination.
struct ReferenceOrder {
  std::vector<ActivityId> activities;
  bool fits = false;  ///< run serially, no device exceeds its capacity
};

/// Microbatch by microbatch (replicas in turn), and within one in the order, among a few
/// memory-conscious ones, that fits or else exceeds the capacities least. O(n log n).
[[nodiscard]] ReferenceOrder reference_order(const PlacedProblem& placed);

/// The activities by their starts in a valid schedule: whatever is held when an activity starts in this order was held
/// then too, so it fits. O(n log n).
[[nodiscard]] ReferenceOrder reference_order(const PlacedProblem& placed, std::span<const std::int64_t> starts);

}  // namespace opweave
