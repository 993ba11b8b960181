/// Which links the ranks of an axis of the mesh use. Ranks are numbered with the tensor axis innermost, then context,
/// data, pipeline; a node holds consecutive ranks.
#pragma once

#include "cost/collective.h"
#include "opweave/strategy.h"

namespace opweave::strategy {

/// Nodes that a token visits at most: routing is limited to as many (DeepSeek-V3, arXiv 2412.19437, section 2.1.2), and
/// dispatchers send it once to each.
inline constexpr double kMostNodesOfToken = 4;

[[nodiscard]] Ring tensor_ring(const Machines& machines, const Strategy& strategy);
[[nodiscard]] Ring context_ring(const Machines& machines, const Strategy& strategy);
[[nodiscard]] Ring expert_ring(const Machines& machines, const Strategy& strategy);
/// Ranks that hold copies of the same weights: the data and the context axis together.
[[nodiscard]] Ring data_ring(const Machines& machines, const Strategy& strategy);
/// Ranks that hold copies of the same experts.
[[nodiscard]] Ring expert_data_ring(const Machines& machines, const Strategy& strategy);
/// From one stage to the next.
[[nodiscard]] Ring hop(const Machines& machines, const Strategy& strategy);
/// Nodes over which the experts of one layer lie.
[[nodiscard]] double expert_nodes(const Machines& machines, const Strategy& strategy);

}  // namespace opweave::strategy
