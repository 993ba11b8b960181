#include "io/megatron_settings.h"

#include <algorithm>

#include "opweave/strategy_targets.h"

namespace opweave::io {

std::string pipeline_layout(const ModelDescription& model, const Strategy& strategy) {
  if (strategy.pipeline == 1) return {};
  std::vector<std::string> stages;
  for (const std::uint32_t layers : layers_of_stages(model, strategy)) stages.emplace_back(layers, 't');
  stages.front().insert(stages.front().begin(), 'E');
  stages.back() += 'L';
  return megatron_layout(stages);
}

std::optional<std::uint32_t> recomputed_layers_per_chunk(const Strategy& strategy) {
  if (strategy.recompute != Recompute::kFull || !strategy.recomputed_layers) return std::nullopt;
  return *strategy.recomputed_layers / strategy.chunks;
}

std::string_view fsdp_strategy(const Strategy& strategy) {
  if (strategy.sharding == Sharding::kGradients) return "optim_grads";
  return strategy.sharding == Sharding::kWeights ? "optim_grads_params" : "";
}

bool has_experts(const ModelDescription& model) {
  return std::ranges::any_of(model.layers, [](const LayerRun& run) { return run.experts.has_value(); });
}

}  // namespace opweave::io
