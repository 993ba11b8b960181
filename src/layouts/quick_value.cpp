#include "layouts/quick_value.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

#include "layouts/derive.h"
#include "opweave/error.h"

namespace opweave {
namespace {

/// Ends of the operators when nothing but precedence and the ways of whole values count.
std::int64_t critical_path(const ComputationGraph& graph, const Cluster& cluster) {
  std::vector<std::int64_t> ends(graph.operators().size(), 0);
  std::int64_t longest = 0;
  for (const OperatorId id : graph.topological_order()) {
    const Operator& op = graph.at(id);
    const ModeSpec& mode = op.modes.front();
    std::int64_t start = 0;
    for (const OperatorId earlier : op.after) start = std::max(start, ends[earlier.index()]);
    for (const TensorId input : op.inputs) {
      const auto& producer = graph.at(input).producer;
      if (!producer) continue;
      std::int64_t there = ends[producer->index()];
      const std::vector<std::string>& from = graph.at(*producer).modes.front().devices;
      for (const std::string& device : mode.devices) {
        if (std::ranges::find(from, device) != from.end()) continue;
        const auto way = cluster.transfer_time(graph.at(input).size, *cluster.find_device(from.front()),
                                               *cluster.find_device(device));
        if (way) there = std::max(there, ends[producer->index()] + way->value());
      }
      start = std::max(start, there);
    }
    ends[id.index()] = start + mode.duration.value();
    longest = std::max(longest, ends[id.index()]);
  }
  return longest;
}

}  // namespace

std::optional<QuickValue> quick_value(const LayoutProblem& problem, const LayoutSelection& selection) {
  std::optional<DerivedGraph> derived;
  try {
    derived = derive_layouts(problem, selection);
  } catch (const InputError&) {
    return std::nullopt;  // no movement makes a layout, or no route joins devices
  }
  const ComputationGraph& graph = derived->graph;
  std::map<std::pair<std::string_view, std::string_view>, std::int64_t> loads;  // by device and stream
  std::map<std::string_view, std::set<ParameterId>> homes;
  for (const Operator& op : graph.operators()) {
    for (const std::string& device : op.modes.front().devices) {
      homes[device].insert(op.parameters.begin(), op.parameters.end());
      if (op.phase == Phase::kOptimizer) continue;
      for (const std::string& stream : op.streams) loads[{device, stream}] += op.modes.front().duration.value();
    }
  }
  QuickValue value;
  const ProblemSettings& settings = problem.settings();
  for (const auto& [name, parameters] : homes) {
    std::int64_t bytes = 0;
    for (const ParameterId parameter : parameters) bytes += graph.at(parameter).weights.value();
    const Device& device = problem.cluster().at(*problem.cluster().find_device(name));
    const std::optional<Bytes> capacity = settings.memory_limit ? settings.memory_limit : device.memory;
    if (capacity) value.excess = std::max(value.excess, bytes - capacity->value());
  }
  std::int64_t load = 0;
  for (const auto& [stream, each] : loads) load = std::max(load, each);
  const std::int64_t others = settings.training.microbatches - 1;
  value.time = std::max(load * (others + 1), critical_path(graph, problem.cluster()) + load * others);
  return value;
}

}  // namespace opweave
