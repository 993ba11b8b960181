#include "layouts/layout_bounds.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "layouts/earliest_selection.h"
#include "layouts/option_loads.h"
#include "layouts/option_paths.h"
#include "opweave/bounds.h"

namespace opweave {
namespace {

/// Pairs of options of a maker and a reader that are looked at, at most.
constexpr std::size_t kMostPairs = 4'000'000;

/// A mode for each set of devices of the options, with the least duration and workspace there.
std::vector<ModeSpec> least_modes(const std::vector<LayoutOption>& options, const Cluster& cluster) {
  std::map<std::vector<DeviceId>, ModeSpec> modes;
  for (const LayoutOption& option : options) {
    const auto [entry, is_new] = modes.try_emplace(option.devices, ModeSpec{{}, option.duration, option.workspace});
    ModeSpec& mode = entry->second;
    if (is_new) {
      for (const DeviceId device : option.devices) mode.devices.push_back(cluster.at(device).name);
    }
    mode.duration = std::min(mode.duration, option.duration);
    mode.workspace = std::min(mode.workspace, option.workspace);
  }
  std::vector<ModeSpec> result;
  for (auto& [devices, mode] : modes) result.push_back(std::move(mode));
  return result;
}

}  // namespace

Problem without_layouts(const LayoutProblem& problem) {
  const ComputationGraph& graph = problem.graph().graph;
  std::vector<Operator> operators = graph.operators();
  for (std::size_t i = 0; i < operators.size(); ++i) {
    operators[i].modes = least_modes(problem.graph().options[i], problem.cluster());
  }
  std::vector<Tensor> tensors = graph.tensors();
  for (Tensor& tensor : tensors) {
    tensor.size = Bytes();
    tensor.memory_modes.reset();
  }
  std::vector<Parameter> parameters = graph.parameters();
  for (Parameter& parameter : parameters) parameter.weights = Bytes();
  ClusterParts parts = problem.cluster().parts();
  for (Device& device : parts.devices) device.memory.reset();
  parts.links.clear();
  parts.switches.clear();
  parts.default_link = Link{};
  ProblemSettings settings = problem.settings();
  settings.memory_limit.reset();
  settings.memory_modes = {};
  return Problem::create(ComputationGraph::create(graph.name(), std::move(operators), std::move(tensors),
                                                  std::move(parameters), graph.training()),
                         Cluster::create(std::move(parts)), std::move(settings));
}

std::vector<LowerBound> layout_bounds(const LayoutProblem& problem, const Budget& budget) {
  return lower_bounds(without_layouts(problem), budget);
}

LayoutRelaxation relax_layouts(MovementCosts& costs, const Budget& budget) {
  LayoutRelaxation result;
  for (const double weight : {0.0, 0.5, 1.0}) result.selections.push_back(earliest_selection(costs, weight));
  std::size_t pairs = 0;
  for (const ReaderEdge& edge : costs.edges()) {
    pairs += std::size_t{costs.alternatives(edge.maker)} * costs.alternatives(edge.reader);
  }
  if (pairs > kMostPairs || budget.expired()) return result;
  const OptionPaths paths(costs);
  const auto longest = paths.bound();
  if (!longest) return result;
  result.bounds.push_back({"option-path", Duration(*longest), "options and movements along a path"});
  if (budget.expired()) return result;
  OptionLoads::Result loads = OptionLoads(costs, paths).search(budget);
  if (loads.bound) {
    result.bounds.push_back({"option-load", Duration(*loads.bound), "options and movements of a forest of choices"});
  }
  result.selections.insert(result.selections.end(), loads.selections.begin(), loads.selections.end());
  return result;
}

}  // namespace opweave
