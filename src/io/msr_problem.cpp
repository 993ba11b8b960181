#include <fmt/format.h>

#include <cmath>
#include <map>
#include <set>

#include "io/message.h"
#include "opweave/msr.h"

namespace opweave {
namespace {

constexpr std::string_view kAccelerator = "accelerator";
constexpr std::string_view kCpu = "cpu";
/// One byte per nanosecond: a tensor has as many bytes as its transfer takes nanoseconds.
constexpr std::int64_t kBandwidth = 1'000'000'000;

/// Milliseconds, rounded to the nanosecond. \throws InputError if that is no input value of ours.
std::int64_t nanoseconds(double ms, const MsrInstance::Node& node, std::string_view what) {
  const double ns = std::round(ms * 1e6);
  if (!(ns <= static_cast<double>(kMaxInputValue))) {
    throw InputError(fmt::format("{} of node {} is {} ms, expected at most {}", what, node.id, ms,
                                 static_cast<double>(kMaxInputValue) / 1e6));
  }
  return static_cast<std::int64_t>(ns);
}

/// \pre a whole number. \throws InputError if that is no input value of ours.
Bytes whole_bytes(double bytes, std::string_view what) {
  if (!(bytes <= static_cast<double>(kMaxInputValue))) {
    throw InputError(fmt::format("{} is {} bytes, expected at most {}", what, bytes, kMaxInputValue));
  }
  return Bytes(static_cast<std::int64_t>(bytes));
}

/// The names of the file if they can tell nodes apart, else "node<id>".
std::vector<std::string> operator_names(const MsrInstance& instance) {
  std::set<std::string_view> distinct;
  for (const MsrInstance::Node& node : instance.nodes) {
    if (!node.name.empty()) distinct.insert(node.name);
  }
  const bool usable = distinct.size() == instance.nodes.size();
  std::vector<std::string> names;
  for (const MsrInstance::Node& node : instance.nodes) {
    names.push_back(usable ? node.name : fmt::format("node{}", node.id));
  }
  return names;
}

Cluster make_cluster(const MsrInstance& instance, const std::string& name) {
  ClusterParts parts;
  parts.name = name;
  parts.contention = Contention::kEndpoint;
  parts.types = {{std::string(kAccelerator), {}, {}}, {std::string(kCpu), {}, {}}};
  for (std::uint32_t i = 0; i < instance.accelerators; ++i) {
    Device& device = parts.devices.emplace_back();
    device.name = fmt::format("acc{}", i);
    device.type = kAccelerator;
    device.memory = Bytes(static_cast<std::int64_t>(
        std::floor(std::min(instance.accelerator_memory_bytes, static_cast<double>(kMaxInputValue)))));
  }
  for (std::uint32_t i = 0; i < instance.cpus; ++i) {
    Device& device = parts.devices.emplace_back();
    device.name = fmt::format("cpu{}", i);
    device.type = kCpu;
  }
  // The published cost is paid between an accelerator and CPU memory, so twice between two accelerators and
  // not at all between CPUs. Every pair has a link of its own: routes then never pass through a third device.
  for (std::size_t i = 0; i < parts.devices.size(); ++i) {
    for (std::size_t j = i + 1; j < parts.devices.size(); ++j) {
      const bool to_accelerator = j < instance.accelerators;
      const bool from_accelerator = i < instance.accelerators;
      Link link{fmt::format("{}-{}", parts.devices[i].name, parts.devices[j].name),
                parts.devices[i].name,
                parts.devices[j].name,
                Duration(),
                std::nullopt,
                true};
      if (from_accelerator) link.bandwidth_bytes_per_s = to_accelerator ? kBandwidth / 2 : kBandwidth;
      parts.links.push_back(std::move(link));
    }
  }
  return Cluster::create(std::move(parts));
}

ComputationGraph make_graph(const MsrInstance& instance, const Cluster& cluster, const std::string& name) {
  std::vector<std::string> cpu_names;
  for (const Device& device : cluster.devices()) {
    if (device.type == kCpu) cpu_names.push_back(device.name);
  }
  std::map<std::int64_t, std::size_t> members_of_color;
  bool is_training = false;
  for (const MsrInstance::Node& node : instance.nodes) {
    if (node.color_class) ++members_of_color[*node.color_class];
    is_training = is_training || node.is_backward;
  }
  const std::vector<std::string> names = operator_names(instance);
  std::vector<Operator> operators(instance.nodes.size());
  std::vector<Tensor> tensors;
  std::vector<Parameter> parameters;
  for (std::size_t i = 0; i < instance.nodes.size(); ++i) {
    const MsrInstance::Node& node = instance.nodes[i];
    Operator& op = operators[i];
    op.name = names[i];
    if (is_training) op.phase = node.is_backward ? Phase::kBackward : Phase::kForward;
    if (node.accelerator_supported) {
      op.durations.push_back(
          {std::string(kAccelerator), Duration(nanoseconds(node.accelerator_ms, node, "accelerator time"))});
    } else if (cpu_names.empty()) {
      throw InputError(fmt::format("node {} runs on CPUs only, but there are none", node.id));
    } else {
      op.devices = {cpu_names};
    }
    if (!cpu_names.empty()) {
      op.durations.push_back({std::string(kCpu), Duration(nanoseconds(node.cpu_ms, node, "CPU time"))});
    }
    if (node.color_class && members_of_color[*node.color_class] > 1) {
      op.colocation = fmt::format("color{}", *node.color_class);
    }
    if (node.size_bytes > 0) {
      op.parameters = {ParameterId(parameters.size())};
      parameters.push_back({op.name, whole_bytes(std::ceil(node.size_bytes), fmt::format("size of node {}", node.id))});
    }
    if (instance.successors[i].empty()) continue;
    const TensorId output(tensors.size());
    op.outputs = {output};
    tensors.push_back({op.name, Bytes(nanoseconds(node.output_ms, node, "cost of the output")), {}, {}});
    for (const std::uint32_t reader : instance.successors[i]) operators[reader].inputs.push_back(output);
  }
  return ComputationGraph::create(name, std::move(operators), std::move(tensors), std::move(parameters));
}

}  // namespace

ImportedProblem to_problem(const MsrInstance& instance, const std::string& name) {
  return io::naming_source(name, [&] {
    Cluster cluster = make_cluster(instance, name);
    ComputationGraph graph = make_graph(instance, cluster, name);
    return ImportedProblem{std::move(graph), std::move(cluster)};
  });
}

}  // namespace opweave
