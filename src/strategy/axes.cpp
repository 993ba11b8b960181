#include "strategy/axes.h"

#include <algorithm>
#include <cmath>

namespace opweave::strategy {
namespace {

/// Seconds of a collective, and of a message, that carries nothing.
constexpr double kCollectiveLatency = 15e-6;
constexpr double kMessageLatency = 15e-6;

/// A ring over every `stride`-th rank. Inside a node its hops use the node's links; over nodes those of the fabric,
/// where the members of one node bring their own each (NCCL runs as many rings).
Ring ring_of(const Machines& machines, double ranks, double stride) {
  const double per_node = machines.devices_per_node;
  if (ranks * stride <= per_node) return {ranks, machines.device.node_bandwidth, kCollectiveLatency};
  const double members = std::clamp(std::floor(per_node / stride), 1.0, ranks);
  const double bandwidth = std::min(machines.device.node_bandwidth, machines.fabric_bandwidth * members);
  return {ranks, bandwidth, kCollectiveLatency};
}

}  // namespace

Ring tensor_ring(const Machines& machines, const Strategy& strategy) { return ring_of(machines, strategy.tensor, 1); }

Ring context_ring(const Machines& machines, const Strategy& strategy) {
  return ring_of(machines, strategy.context, strategy.tensor);
}

Ring data_ring(const Machines& machines, const Strategy& strategy) {
  return ring_of(machines, static_cast<double>(strategy.data) * strategy.context, strategy.tensor);
}

Ring expert_ring(const Machines& machines, const Strategy& strategy) {
  Ring ring = ring_of(machines, strategy.expert, strategy.expert_tensor);
  // What an all-to-all sends goes over the device's own links.
  if (expert_nodes(machines, strategy) > 1) ring.bandwidth = machines.fabric_bandwidth;
  return ring;
}

Ring expert_data_ring(const Machines& machines, const Strategy& strategy) {
  const double stride = static_cast<double>(strategy.expert) * strategy.expert_tensor;
  const double ranks = static_cast<double>(strategy.tensor) * strategy.context * strategy.data / stride;
  return ring_of(machines, ranks, stride);
}

Ring hop(const Machines& machines, const Strategy& strategy) {
  const bool is_inside = strategy.devices() <= machines.devices_per_node;
  return {2, is_inside ? machines.device.node_bandwidth : machines.fabric_bandwidth, kMessageLatency};
}

double expert_nodes(const Machines& machines, const Strategy& strategy) {
  const double span = static_cast<double>(strategy.expert) * strategy.expert_tensor;
  return std::ceil(span / machines.devices_per_node);
}

}  // namespace opweave::strategy
