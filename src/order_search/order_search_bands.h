/// Order search around work whose order is given.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "order_search/order_search.h"
#include "order_search/order_search_network.h"

namespace opweave::order_search {

/// Sees an order that was accepted, as the ends of the nodes.
using OnOrder = std::function<void(std::span<const Time> ends, Time makespan)>;

/// Simulated annealing over the orders that keep the bands of the networks (see Band): every node stays in its band,
/// and fixed nodes stay where they are. Ends as improve_order does, and as there weight gradients first fill gaps, then
/// are ordered like all else. \param with_fillers, plain  networks of the same nodes \param starts  by node: the first
/// order follows them within each band. May be changed by on_order to what the last part of the search is to begin from
/// \param on_order  called with every order that is accepted, the first ones included
void improve_within_bands(const PlacedProblem& placed, const Network& with_fillers, const Network& plain,
                          std::vector<Time>& starts, const Budget& budget, const OrderSearchOptions& options,
                          const OnOrder& on_order);

}  // namespace opweave::order_search
