#include "order_search/schedule_in_order.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "order_search/order_search_network.h"
#include "order_search/order_search_timing.h"

namespace opweave {

std::optional<Schedule> schedule_in_order(const PlacedProblem& placed, std::span<const std::int64_t> wishes) {
  using namespace order_search;
  Network network = build_network(placed);
  std::vector<Time> keys(network.node_count);
  for (const Node node : network.topological_order) {
    keys[node] = wishes[network.activity_of_node[node]];
    for (const Node before : network.predecessors[node]) keys[node] = std::max(keys[node], keys[before]);
  }
  const std::vector<bool> fills_gaps = network.fills_gaps;
  // Where the order does not fit, weight gradients may run earlier, as memory needs it.
  for (const bool has_fillers : {false, true}) {
    network.fills_gaps = has_fillers ? fills_gaps : std::vector<bool>(network.node_count, false);
    std::vector<Node> order;
    std::ranges::copy_if(network.topological_order, std::back_inserter(order),
                         [&](Node node) { return !network.fills_gaps[node]; });
    std::ranges::stable_sort(order, {}, [&](Node node) { return keys[node]; });
    Timing timing(network, 0);
    if (!timing.evaluate(order, 0)) continue;
    timing.accept();
    return placed.schedule(activity_starts(placed, network, timing.ends()));
  }
  return std::nullopt;
}

}  // namespace opweave
