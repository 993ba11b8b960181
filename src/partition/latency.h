/// The latency objective of Tarnawski et al.: one sample runs through subgraphs on accelerators and nodes on CPUs.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "opweave/budget.h"
#include "opweave/msr.h"

namespace opweave::partition {

struct LatencyAnswer {
  MsrPlacement placement;  ///< empty if none was found
  double value = std::numeric_limits<double>::infinity();
  std::uint64_t work = 0;  ///< placements that were valued
};

/// Simulated annealing over placements valued by msr_latency, from greedy ones (docs/partition.md). Ends with the
/// budget (its work limit counts placements) or when the value is at most `good_enough`.
[[nodiscard]] LatencyAnswer search_latency(const MsrInstance& instance, const Budget& budget, std::uint64_t seed,
                                           double good_enough);

/// A latency that no placement is below: the cheapest way to cut a path of the graph into subgraphs that fit and nodes
/// on CPUs, for several long paths. A subgraph that holds two nodes of a path holds all nodes between them. O(nodes^3 /
/// 64 + paths x nodes^2 x accelerators).
[[nodiscard]] double latency_bound(const MsrInstance& instance, const Budget& budget);

}  // namespace opweave::partition
