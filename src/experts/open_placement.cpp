// A problem without its placement, so that every published schedule can place it as it likes.
#include <algorithm>
#include <map>
#include <string>

#include "opweave/experts.h"

namespace opweave {
namespace {

/// Numbers the layers by the stage that they are in and their place in the graph.
std::map<std::string, std::uint32_t> stage_of_layer(const ComputationGraph& graph) {
  std::map<std::string, StageId> stage;
  std::vector<std::string> layers;
  for (const OperatorId id : graph.topological_order()) {
    const Operator& op = graph.at(id);
    if (op.stage && stage.try_emplace(op.layer, *op.stage).second) layers.push_back(op.layer);
  }
  std::stable_sort(layers.begin(), layers.end(),
                   [&](const std::string& a, const std::string& b) { return stage.at(a) < stage.at(b); });
  std::map<std::string, std::uint32_t> result;
  for (const std::string& layer : layers) result.try_emplace(layer, static_cast<std::uint32_t>(result.size()));
  return result;
}

}  // namespace

Problem with_open_placement(const Problem& problem) {
  const ComputationGraph& graph = problem.graph();
  std::vector<Operator> operators = graph.operators();
  const bool has_layers =
      std::ranges::all_of(operators, [](const Operator& op) { return !op.stage || !op.layer.empty(); });
  const auto stages = has_layers ? stage_of_layer(graph) : std::map<std::string, std::uint32_t>();
  for (Operator& op : operators) {
    op.devices.clear();
    if (op.stage && has_layers) op.stage = StageId(stages.at(op.layer));
  }
  ProblemSettings settings = problem.settings();
  Training& training = settings.training;
  if (training.replicas == 1 && training.microbatches > 1) {
    training.replicas = 2;
    training.replica_of_microbatch.clear();
  }
  return Problem::create(ComputationGraph::create(graph.name() + ", any placement", std::move(operators),
                                                  graph.tensors(), graph.parameters(), graph.training()),
                         problem.cluster(), std::move(settings));
}

}  // namespace opweave
