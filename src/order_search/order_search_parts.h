/// Parts of a network that have nothing to do with each other and are all the same: replicas apart.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "order_search/order_search_network.h"

namespace opweave::order_search {

/// One of several equal parts, to be searched for all of them.
struct EqualParts {
  Network part;
  /// By part: its nodes in the whole network. The i-th of every part correspond to each other, and to node i of `part`.
  std::vector<std::vector<Node>> nodes;
  std::size_t model = 0;  ///< the part that `part` was taken from

  /// Values by node of `part`, from values by node of the whole.
  [[nodiscard]] std::vector<Time> taken(std::span<const Time> whole) const;
  /// Values by node of the whole, from values by node of `part`.
  [[nodiscard]] std::vector<Time> spread(std::span<const Time> part_values) const;
};

/// The parts, if there are several, they share no resource, no memory and no precedence, and one can be mapped to any
/// other node by node, with equal durations, edges, resources and memory. Then the best order of one is best for all.
/// The model is the part that ends first in the given schedule. \pre the network has no bands.
/// O((nodes + edges) log nodes).
[[nodiscard]] std::optional<EqualParts> equal_parts(const Network& network, std::span<const Time> starts);

}  // namespace opweave::order_search
