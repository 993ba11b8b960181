#include "partition/msr_model.h"

#include <algorithm>
#include <map>

namespace opweave::partition {

MsrPlacement MsrModel::placement(const Assignment& assignment) const {
  MsrPlacement result;
  result.reserve(vertex_of.size());
  for (const Vertex vertex : vertex_of) result.push_back(assignment[vertex]);
  return result;
}

MsrModel msr_model(const MsrInstance& instance) {
  // One vertex per node first: merging then treats color classes like any other set of vertices.
  const std::size_t count = instance.nodes.size();
  std::map<std::int64_t, std::uint32_t> first_of_color;
  std::vector<std::uint32_t> label;
  CutModel nodes;
  DeviceKind accelerators{instance.accelerators, true, instance.accelerator_memory_bytes, {}};
  DeviceKind cpus{instance.cpus, false, std::numeric_limits<double>::infinity(), {}};
  for (std::uint32_t i = 0; i < count; ++i) {
    const MsrInstance::Node& node = instance.nodes[i];
    label.push_back(node.color_class ? first_of_color.emplace(*node.color_class, i).first->second : i);
    nodes.bytes.push_back(node.size_bytes);
    accelerators.work.push_back(node.accelerator_supported ? node.accelerator_ms
                                                           : std::numeric_limits<double>::infinity());
    cpus.work.push_back(node.cpu_ms);
    Net net{instance.successors[i], node.output_ms};
    if (net.pins.empty()) continue;
    net.pins.push_back(i);
    nodes.nets.push_back(std::move(net));
  }
  nodes.kinds = {std::move(accelerators), std::move(cpus)};

  nodes.precedence = msr_precedence(instance);
  Contraction merged = merge(nodes, label);
  return {std::move(merged.model), std::move(merged.vertex_of)};
}

}  // namespace opweave::partition
