/// Topological orders of the vertices of a model.
#pragma once

#include <vector>

#include "partition/cut_model.h"

namespace opweave::partition {

/// Distinct topological orders of the precedence: breadth first, depth first, and one that keeps the cost of the nets
/// between a prefix and the rest small. \pre the precedence has no circle.
[[nodiscard]] std::vector<std::vector<Vertex>> topological_orders(const CutModel& model);

}  // namespace opweave::partition
