/// Times of a routed problem where memory or contention decide beside the order.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "list_scheduling/placed_problem.h"
#include "order_search/order_search_network.h"
#include "order_search/order_search_timing.h"
#include "placement_search/routing_graph.h"

namespace opweave::routing {

/// Times the order of a graph as the order search does, with transfers as activities of their own. What was made for
/// the last placement is kept for the next order of the same placement.
class ExactTiming {
 public:
  explicit ExactTiming(const Problem& problem) : problem_(problem) {}

  /// Makespan of the order of the graph under its options; nothing if it does not fit in memory.
  /// O(tasks + edges + transfers log transfers).
  [[nodiscard]] std::optional<Time> evaluate(const Graph& graph);
  /// Of the order evaluated last. \pre evaluate() returned a makespan
  [[nodiscard]] Schedule schedule() const;

 private:
  bool place(const Graph& graph);

  const Problem& problem_;
  std::optional<PlacedProblem> placed_;
  std::unique_ptr<order_search::Network> network_;
  std::unique_ptr<order_search::Timing> timing_;
  std::vector<ModeIndex> modes_;
  std::vector<Time> ends_;
};

}  // namespace opweave::routing
