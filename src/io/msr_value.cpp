#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "opweave/msr.h"

namespace opweave {
namespace {

/// The largest number of any device plus one, and the number of accelerators at least.
std::size_t device_count(const MsrInstance& instance, const MsrPlacement& placement) {
  std::size_t count = instance.accelerators;
  for (const std::uint32_t device : placement) count = std::max<std::size_t>(count, device + std::size_t{1});
  return count;
}

/// Devices other than its own that read the output of a node, each once.
std::vector<std::uint32_t> reading_devices(const MsrInstance& instance, const MsrPlacement& placement,
                                           std::size_t node) {
  std::vector<std::uint32_t> devices;
  for (const std::uint32_t next : instance.successors[node]) {
    if (placement[next] != placement[node]) devices.push_back(placement[next]);
  }
  std::sort(devices.begin(), devices.end());
  devices.erase(std::unique(devices.begin(), devices.end()), devices.end());
  return devices;
}

std::string device_name(const MsrInstance& instance, std::uint32_t device) {
  if (device < instance.accelerators) return fmt::format("accelerator {}", device);
  return fmt::format("CPU {}", device - instance.accelerators);
}

}  // namespace

std::string msr_infeasibility(const MsrInstance& instance, const MsrPlacement& placement) {
  if (placement.size() != instance.nodes.size()) {
    return fmt::format("{} nodes are placed, expected {}", placement.size(), instance.nodes.size());
  }
  std::vector<double> memory(instance.accelerators);
  std::unordered_map<std::int64_t, std::size_t> first_of_color;
  for (std::size_t i = 0; i < placement.size(); ++i) {
    const MsrInstance::Node& node = instance.nodes[i];
    const std::uint32_t device = placement[i];
    if (device >= instance.accelerators + instance.cpus) {
      return fmt::format("node {} is on device {}, expected 0 to {}", node.id, device,
                         instance.accelerators + instance.cpus - 1);
    }
    if (device < instance.accelerators) {
      if (!node.accelerator_supported) {
        return fmt::format("node {} is on accelerator {}, expected a CPU", node.id, device);
      }
      memory[device] += node.size_bytes;
    }
    if (!node.color_class) continue;
    const auto [place, is_new] = first_of_color.emplace(*node.color_class, i);
    if (!is_new && placement[place->second] != device) {
      return fmt::format("nodes {} and {} have color class {}, but are on {} and {}", instance.nodes[place->second].id,
                         node.id, *node.color_class, device_name(instance, placement[place->second]),
                         device_name(instance, device));
    }
  }
  for (std::size_t device = 0; device < memory.size(); ++device) {
    if (memory[device] > instance.accelerator_memory_bytes) {
      return fmt::format("accelerator {} holds {} bytes, expected at most {}", device, memory[device],
                         instance.accelerator_memory_bytes);
    }
  }
  return {};
}

double msr_max_load(const MsrInstance& instance, const MsrPlacement& placement) {
  std::vector<double> load(device_count(instance, placement));
  for (std::size_t i = 0; i < placement.size(); ++i) {
    const MsrInstance::Node& node = instance.nodes[i];
    const bool on_accelerator = placement[i] < instance.accelerators;
    load[placement[i]] += on_accelerator ? node.accelerator_ms : node.cpu_ms;
    const std::vector<std::uint32_t> readers = reading_devices(instance, placement, i);
    if (!readers.empty() && on_accelerator) load[placement[i]] += node.output_ms;
    for (const std::uint32_t reader : readers) {
      if (reader < instance.accelerators) load[reader] += node.output_ms;
    }
  }
  return load.empty() ? 0 : *std::max_element(load.begin(), load.end());
}

std::optional<double> msr_latency(const MsrInstance& instance, const MsrPlacement& placement) {
  // Vertices are what starts and ends as one: first the subgraphs of the accelerators, then the nodes on CPUs.
  const std::size_t accelerators = instance.accelerators;
  const auto vertex_of = [&](std::size_t node) {
    return placement[node] < accelerators ? placement[node] : accelerators + node;
  };
  const std::size_t vertex_count = accelerators + instance.nodes.size();
  std::vector<double> length(vertex_count);
  std::vector<std::vector<std::size_t>> successors(vertex_count);
  std::vector<std::size_t> waiting_for(vertex_count);
  for (std::size_t i = 0; i < placement.size(); ++i) {
    const MsrInstance::Node& node = instance.nodes[i];
    const std::size_t vertex = vertex_of(i);
    const bool on_accelerator = vertex < accelerators;
    length[vertex] += on_accelerator ? node.accelerator_ms : node.cpu_ms;
    // All CPUs are one place here: a number of a CPU says nothing.
    std::vector<std::size_t> readers;
    for (const std::uint32_t next : instance.successors[i]) {
      if (vertex_of(next) != vertex) readers.push_back(vertex_of(next));
    }
    std::sort(readers.begin(), readers.end());
    readers.erase(std::unique(readers.begin(), readers.end()), readers.end());
    if (!readers.empty() && on_accelerator) length[vertex] += node.output_ms;
    for (const std::size_t reader : readers) {
      if (reader < accelerators) length[reader] += node.output_ms;
      successors[vertex].push_back(reader);
      ++waiting_for[reader];
    }
  }
  std::vector<std::size_t> ready;
  for (std::size_t vertex = 0; vertex < vertex_count; ++vertex) {
    if (waiting_for[vertex] == 0) ready.push_back(vertex);
  }
  std::vector<double> start(vertex_count);
  double latest = 0;
  std::size_t finished = 0;
  while (!ready.empty()) {
    const std::size_t vertex = ready.back();
    ready.pop_back();
    ++finished;
    const double end = start[vertex] + length[vertex];
    latest = std::max(latest, end);
    for (const std::size_t reader : successors[vertex]) {
      start[reader] = std::max(start[reader], end);
      if (--waiting_for[reader] == 0) ready.push_back(reader);
    }
  }
  if (finished != vertex_count) return std::nullopt;  // a subgraph waits for what waits for it
  return latest;
}

}  // namespace opweave
