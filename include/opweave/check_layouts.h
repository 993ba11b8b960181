/// The validator of plans that choose among options with layouts.
#pragma once

#include <cstddef>
#include <vector>

#include "opweave/check.h"
#include "opweave/cluster.h"
#include "opweave/layout_graph.h"

namespace opweave {

/// Checks a plan from the input and the plan alone, by the rules of docs/layouts.md: which movements there have to be,
/// how long they take, what is where and how long it stays is found anew. Limit and order as of the other check().
[[nodiscard]] std::vector<Violation> check(const LayoutGraph& graph, const Cluster& cluster, const LayoutPlan& plan,
                                           std::size_t limit = 100);

}  // namespace opweave
