/// The branches of a graph.
#pragma once

#include <cstddef>
#include <vector>

#include "opweave/problem.h"
#include "placement/placement_bundles.h"

namespace opweave {

/// A longest chain of bundles of the forward graph: nothing flows in or out on its way.
struct Branch {
  std::vector<std::size_t> bundles;  ///< indices, in the order of the chain
  std::size_t depth = 0;             ///< most branches that come one after the other before it
};

/// The branches of one replica, in the order of their first bundles; every bundle is in one. Only operators of phase F
/// and those without a phase decide what follows what. O((bundles + edges) log bundles).
[[nodiscard]] std::vector<Branch> branches_of(const Problem& problem, const std::vector<PlacementBundle>& bundles);

}  // namespace opweave
