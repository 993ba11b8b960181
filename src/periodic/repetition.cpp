#include "periodic/repetition.h"

#include <algorithm>
#include <utility>

namespace opweave::periodic {

std::vector<std::vector<std::uint32_t>> microbatches_by_replica(const Problem& problem) {
  const Training& training = problem.settings().training;
  std::vector<std::vector<std::uint32_t>> lists(training.replicas);
  for (std::uint32_t b = 0; b < training.microbatches; ++b) lists[training.replica_of(b)].push_back(b);
  return lists;
}

Problem with_microbatches(const Problem& problem, std::span<const std::uint32_t> counts) {
  ProblemSettings settings = problem.settings();
  Training& training = settings.training;
  training.replica_of_microbatch.clear();
  for (std::uint32_t replica = 0; replica < counts.size(); ++replica) {
    training.replica_of_microbatch.insert(training.replica_of_microbatch.end(), counts[replica], replica);
  }
  training.microbatches = static_cast<std::uint32_t>(training.replica_of_microbatch.size());
  return Problem::create(problem.graph(), problem.cluster(), settings);
}

std::shared_ptr<const LoopBody> LoopBody::create(Problem problem, std::vector<ModeIndex> modes, std::size_t repeats) {
  const std::shared_ptr<LoopBody> body(new LoopBody(std::move(problem)));
  body->placed_ = PlacedProblem::create(body->problem_, std::move(modes));
  if (!body->placed_) return nullptr;
  const PlacedProblem& placed = *body->placed_;
  body->network_ = order_search::build_network(placed, repeats);
  body->network_.order_fillers();
  const Network& network = body->network_;
  const auto is_repeated = [&](Node node) {
    ActivityId activity = network.activity_of_node[node];
    if (!placed.is_task(activity)) {
      activity = static_cast<ActivityId>(body->problem_.producer(placed.transfer(activity).value)->index());
    }
    return body->problem_.op(TaskId(activity)).phase != Phase::kOptimizer;
  };
  body->is_repeated_.resize(network.node_count);
  std::vector<std::vector<Node>> on_resource(network.resource_count);
  for (const Node node : network.topological_order) {
    body->is_repeated_[node] = is_repeated(node);
    if (!body->is_repeated_[node]) continue;
    body->nodes_.push_back(node);
    for (const std::uint32_t resource : network.resources[node]) on_resource[resource].push_back(node);
  }
  for (std::size_t h = 0; h < network.holdings.size(); ++h) {
    for (const Node user : network.users[h]) {
      if (!body->is_repeated_[user]) return nullptr;
    }
  }
  for (const std::vector<Node>& list : on_resource) {
    body->on_resource_.items.insert(body->on_resource_.items.end(), list.begin(), list.end());
    body->on_resource_.close_list();
  }
  body->transfers_.resize(body->problem_.value_count());
  for (const Node node : body->nodes_) {
    const ActivityId activity = network.activity_of_node[node];
    if (placed.is_task(activity)) continue;
    const NecessaryTransfer& transfer = placed.transfer(activity);
    body->transfers_[transfer.value.index()].emplace_back(transfer.destination, node);
  }
  return body;
}

Node LoopBody::node_of_task(OperatorId op, std::uint32_t replica) const {
  const Node node = network_.node_of_activity[problem_.task_of(op, replica).index()];
  return is_repeated_[node] ? node : kNone;
}

Node LoopBody::node_of_transfer(TensorId tensor, std::uint32_t replica, DeviceId destination) const {
  for (const auto& [device, node] : transfers_[problem_.value_of(tensor, replica).index()]) {
    if (device == destination) return node;
  }
  return kNone;
}

}  // namespace opweave::periodic
