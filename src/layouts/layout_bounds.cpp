#include "layouts/layout_bounds.h"

#include "opweave/bounds.h"

namespace opweave {

Problem without_layouts(const LayoutProblem& problem) {
  const ComputationGraph& graph = problem.graph().graph;
  std::vector<Tensor> tensors = graph.tensors();
  for (Tensor& tensor : tensors) tensor.size = Bytes();
  std::vector<Parameter> parameters = graph.parameters();
  for (Parameter& parameter : parameters) parameter.weights = Bytes();
  ClusterParts parts = problem.cluster().parts();
  for (Device& device : parts.devices) device.memory.reset();
  parts.links.clear();
  parts.switches.clear();
  parts.default_link = Link{};
  ProblemSettings settings = problem.settings();
  settings.memory_limit.reset();
  return Problem::create(ComputationGraph::create(graph.name(), graph.operators(), std::move(tensors),
                                                  std::move(parameters), graph.training()),
                         Cluster::create(std::move(parts)), std::move(settings));
}

std::vector<LowerBound> layout_bounds(const LayoutProblem& problem, const Budget& budget) {
  return lower_bounds(without_layouts(problem), budget);
}

}  // namespace opweave
