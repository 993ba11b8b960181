#include <fmt/format.h>

#include "opweave/check.h"

namespace opweave {
namespace {

std::string amount(std::optional<Bytes> bytes) {
  return bytes ? fmt::format("{} bytes", bytes->value()) : std::string("no limit");
}

/// "memory of every device is 1000 bytes instead of 65536 bytes"; empty if the limit says what the cluster says.
std::string replaced_memory(const Cluster& cluster, Bytes limit) {
  std::optional<Bytes> least = cluster.devices().front().memory;
  std::optional<Bytes> most = least;
  const auto is_less = [](std::optional<Bytes> a, std::optional<Bytes> b) { return a && (!b || *a < *b); };
  for (const Device& device : cluster.devices()) {
    if (is_less(device.memory, least)) least = device.memory;
    if (is_less(most, device.memory)) most = device.memory;
  }
  if (least == limit && most == limit) return {};
  const std::string said = least == most ? amount(least) : fmt::format("{} to {}", amount(least), amount(most));
  return fmt::format("memory of every device is {} instead of {}", amount(limit), said);
}

}  // namespace

std::vector<std::string> replaced_settings(const ComputationGraph& graph, const Cluster& cluster,
                                           const ProblemSettings& settings) {
  std::vector<std::string> result;
  const auto compare = [&](std::string_view what, const auto& used, const auto& said) {
    if (used != said) result.push_back(fmt::format("{} {} instead of {}", what, used, said));
  };
  const Training& used = settings.training;
  const Training& said = graph.training();
  compare("microbatches are", used.microbatches, said.microbatches);
  compare("replicas are", used.replicas, said.replicas);
  if (used.microbatches == said.microbatches && used.replicas == said.replicas) {
    for (std::uint32_t b = 0; b < used.microbatches; ++b) {
      if (used.replica_of(b) == said.replica_of(b)) continue;
      result.push_back(
          fmt::format("microbatch {} belongs to replica {} instead of {}", b, used.replica_of(b), said.replica_of(b)));
      break;
    }
  }
  compare("gradient bytes per byte of weights are", used.gradient_bytes_per_weight_byte,
          said.gradient_bytes_per_weight_byte);
  compare("optimizer bytes per byte of weights are", used.optimizer_bytes_per_weight_byte,
          said.optimizer_bytes_per_weight_byte);
  if (used.reduction_stream != said.reduction_stream) {
    const auto shown = [](const std::string& stream) { return stream.empty() ? "nothing" : '"' + stream + '"'; };
    result.push_back(fmt::format("reductions of gradients hold {} instead of {}", shown(used.reduction_stream),
                                 shown(said.reduction_stream)));
  }
  compare("contention is", to_string(settings.contention), to_string(cluster.contention()));
  if (settings.memory_modes.any()) {
    const MemoryModes& modes = settings.memory_modes;
    result.push_back(fmt::format("values may be {}{}{} instead of kept", modes.drop ? "dropped" : "",
                                 modes.drop && modes.host ? " or " : "", modes.host ? "moved to the host" : ""));
  }
  if (settings.memory_limit) {
    const std::string memory = replaced_memory(cluster, *settings.memory_limit);
    if (!memory.empty()) result.push_back(memory);
  }
  return result;
}

}  // namespace opweave
