// The objective of Piper (NeurIPS 2021), from its definition alone.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "opweave/layer_graph.h"

namespace opweave {
namespace {

/// Sums of doubles in another order differ by less than this share.
constexpr double kSumRounding = 1e-9;

std::string value_stage(const LayerGraph& graph, const StageTask& task, const std::vector<std::size_t>& stage_of,
                        std::size_t number, CutStage& stage, std::uint32_t copies_from_here) {
  const double copies = stage.data;
  const double in_flight = std::ceil(static_cast<double>(copies_from_here) / copies);
  stage.seconds = 0;
  stage.memory_bytes = 0;
  for (std::size_t i = 0; i < stage.nodes.size(); ++i) {
    const LayerGraph::Node& node = graph.nodes[stage.nodes[i]];
    const auto found = node.by_tensor.find(stage.tensor);
    if (found == node.by_tensor.end() || stage.alternatives[i] >= found->second.size()) {
      return fmt::format("node {} has no such alternative on {} devices", node.id, stage.tensor);
    }
    const LayerGraph::Alternative& a = found->second[stage.alternatives[i]];
    double moved = 0;
    for (std::uint32_t e = 0; e < graph.edges.size(); ++e) {
      const LayerGraph::Edge& edge = graph.edges[e];
      if (edge.source != stage.nodes[i] && edge.target != stage.nodes[i]) continue;
      if (stage_of[edge.source] == stage_of[edge.target]) continue;
      const auto sync = a.sync_bytes.find(e);
      moved += 2 * (edge.bytes + (sync == a.sync_bytes.end() ? 0 : sync->second));
    }
    const double reduced = 4 * (copies - 1) * a.parameter_bytes / (copies * task.microbatches);
    stage.seconds += (moved / copies + reduced) / task.bytes_per_second + a.seconds / copies;
    stage.memory_bytes += a.bytes_per_flight * in_flight + a.bytes;
  }
  if (stage.memory_bytes > task.memory_bytes * (1 + kSumRounding)) {
    return fmt::format("stage {} needs {:.0f} bytes, a device has {:.0f}", number, stage.memory_bytes,
                       task.memory_bytes);
  }
  return {};
}

}  // namespace

std::string value_stages(const LayerGraph& graph, const StageTask& task, std::vector<CutStage>& stages) {
  constexpr auto kNowhere = static_cast<std::size_t>(-1);
  std::vector<std::size_t> stage_of(graph.nodes.size(), kNowhere);
  std::uint64_t devices = 0;
  std::uint32_t copies = 0;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const CutStage& stage = stages[i];
    if (stage.nodes.size() != stage.alternatives.size()) return fmt::format("stage {} lacks alternatives", i);
    if (stage.data == 0 || task.microbatches % stage.data != 0) {
      return fmt::format("{} microbatches cannot be dealt out to {} copies", task.microbatches, stage.data);
    }
    for (const std::uint32_t node : stage.nodes) {
      if (stage_of[node] != kNowhere) return fmt::format("node {} is on two stages", graph.nodes[node].id);
      stage_of[node] = i;
    }
    devices += std::uint64_t{stage.tensor} * stage.data;
    copies += stage.data;
  }
  if (devices > task.devices) return fmt::format("the stages need {} devices, there are {}", devices, task.devices);
  const auto nowhere = std::ranges::find(stage_of, kNowhere);
  if (nowhere != stage_of.end()) {
    return fmt::format("node {} is on no stage", graph.nodes[static_cast<std::size_t>(nowhere - stage_of.begin())].id);
  }
  for (const LayerGraph::Edge& edge : graph.edges) {
    if (stage_of[edge.source] > stage_of[edge.target]) {
      return fmt::format("node {} comes after its reader {}", graph.nodes[edge.source].id, graph.nodes[edge.target].id);
    }
  }
  for (std::size_t i = 0; i < stages.size(); ++i) {
    std::string why = value_stage(graph, task, stage_of, i, stages[i], copies);
    if (!why.empty()) return why;
    copies -= stages[i].data;
  }
  return {};
}

}  // namespace opweave
