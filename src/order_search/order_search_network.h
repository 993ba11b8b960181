/// What the order search needs to know of a placed problem, in flat arrays for its inner loop.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "core/problem_data.h"
#include "list_scheduling/placed_problem.h"
#include "order_search/order_search.h"

namespace opweave::order_search {

using Node = std::uint32_t;
using Time = std::int64_t;
inline constexpr Node kNone = std::numeric_limits<Node>::max();

/// Bytes that a node takes from a pool when it starts.
struct Claim {
  std::uint32_t pool = 0;
  std::int64_t bytes = 0;
};

/// A value on a device whose memory is limited, from the start of its maker to the end of its last user.
struct Holding {
  std::uint32_t pool = 0;
  std::int64_t bytes = 0;
  bool appears_with_first_user = false;  ///< an input of the graph, which nobody makes
  Node maker = kNone;                    ///< kNone for an input of the graph
};

/// Memory of one device that could run out.
struct Pool {
  std::int64_t capacity = 0;  ///< without parameters
  /// Everything that takes or frees this memory shares one resource, so that the order alone decides whether it fits.
  bool is_serial = false;
};

/// How a node is grouped with others that are worth moving together.
struct Label {
  std::uint32_t device = 0;
  std::uint32_t copy = 0;   ///< microbatch
  std::uint32_t chunk = 0;  ///< same device, microbatch, phase and stage
  std::uint32_t kind = 0;   ///< same device and phase
  std::uint32_t twins = 0;  ///< same operator on the same device, in other microbatches
};

/// Nodes of an order that stay together: those of a lower band come first.
struct Band {
  std::uint32_t number = 0;
  std::uint32_t rank = kNone;  ///< place within the band of a node that never moves; kNone = it may, within its band

  [[nodiscard]] bool is_fixed() const { return rank != kNone; }
};

/// Tasks, and those transfers that take time, memory or links, as nodes. Immutable once built.
struct Network {
  std::size_t node_count = 0;
  std::size_t resource_count = 0;
  std::size_t device_count = 0;
  std::vector<Time> duration;
  detail::Lists<Node> predecessors;
  detail::Lists<Node> successors;
  detail::Lists<std::uint32_t> resources;      ///< streams, ports, links that a node occupies; often exactly one
  std::vector<std::uint32_t> resource_device;  ///< device of a stream; device_count for ports and links
  detail::Lists<Claim> claims;                 ///< what a node makes and its workspace, summed by pool
  detail::Lists<Claim> own_release;            ///< freed at the node's own end: workspace, values that nobody uses
  detail::Lists<std::uint32_t> used;           ///< holdings that last until the node's end
  detail::Lists<Node> users;                   ///< per holding
  std::vector<Holding> holdings;
  std::vector<Pool> pools;
  std::vector<Label> labels;
  std::size_t copy_count = 1;
  std::size_t chunk_count = 0;
  std::size_t twins_count = 0;
  std::vector<bool> fills_gaps;  ///< weight gradients: nothing but an optimizer step waits for them
  std::vector<Node> topological_order;
  std::vector<Band> bands;  ///< by node; empty = all nodes may change places

  // Back to the placed problem.
  std::vector<ActivityId> activity_of_node;
  std::vector<Node> node_of_activity;  ///< kNone for transfers without duration, memory and links

  /// Gives weight gradients a place in the order like everything else.
  void order_fillers() { fills_gaps.assign(fills_gaps.size(), false); }
};

/// \param repeats  memory is followed where so many times everything at once could exceed it.
/// \param likeness  by task, or empty: as the problem says
[[nodiscard]] Network build_network(const PlacedProblem& placed, std::size_t repeats = 1,
                                    std::span<const Likeness> likeness = {});

/// Starts of all activities of the placed problem from the ends of the nodes.
[[nodiscard]] std::vector<std::int64_t> activity_starts(const PlacedProblem& placed, const Network& network,
                                                        std::span<const Time> ends);

}  // namespace opweave::order_search
