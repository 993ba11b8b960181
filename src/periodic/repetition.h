/// An iteration as repetitions of one microbatch of every replica.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "list_scheduling/placed_problem.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"
#include "order_search/order_search_network.h"

namespace opweave::periodic {

using order_search::kNone;
using order_search::Network;
using order_search::Node;
using order_search::Time;

/// Microbatches of each replica, ascending.
[[nodiscard]] std::vector<std::vector<std::uint32_t>> microbatches_by_replica(const Problem& problem);

/// The same graph, cluster and settings with counts[r] microbatches for replica r, those of a replica one after the
/// other. O(tasks of the result).
[[nodiscard]] Problem with_microbatches(const Problem& problem, std::span<const std::uint32_t> counts);

/// One microbatch of every replica with its placement: what a kernel repeats. Operators of phase O run once per
/// iteration and are no part of it. Immutable.
class LoopBody {
 public:
  /// `modes` has a mode per task of `problem`, which has one microbatch per replica. Memory of a device is followed if
  /// `repeats` bodies at once could exceed it.
  /// Nothing if a value must cross devices that no route joins, or if what a microbatch makes fills limited memory
  /// until the optimizer runs, so that no state of the memory ever repeats.
  static std::shared_ptr<const LoopBody> create(Problem problem, std::vector<ModeIndex> modes, std::size_t repeats);
  LoopBody(const LoopBody&) = delete;
  LoopBody& operator=(const LoopBody&) = delete;

  [[nodiscard]] const PlacedProblem& placed() const { return *placed_; }
  [[nodiscard]] const Network& network() const { return network_; }
  /// Nodes that run once per microbatch, in topological order.
  [[nodiscard]] const std::vector<Node>& nodes() const { return nodes_; }
  /// Whether the node is one of them.
  [[nodiscard]] bool repeats(Node node) const { return is_repeated_[node]; }
  /// Nodes of each resource of the network.
  [[nodiscard]] std::span<const Node> on_resource(std::size_t resource) const { return on_resource_[resource]; }
  /// The node of a task, or of the transfer of a value to a device; kNone if it is none of nodes().
  [[nodiscard]] Node node_of_task(OperatorId op, std::uint32_t replica) const;
  [[nodiscard]] Node node_of_transfer(TensorId tensor, std::uint32_t replica, DeviceId destination) const;

 private:
  explicit LoopBody(Problem problem) : problem_(std::move(problem)) {}

  Problem problem_;
  std::optional<PlacedProblem> placed_;
  Network network_;
  std::vector<Node> nodes_;
  std::vector<bool> is_repeated_;
  detail::Lists<Node> on_resource_;
  std::vector<std::vector<std::pair<DeviceId, Node>>> transfers_;  // by value
};

}  // namespace opweave::periodic
