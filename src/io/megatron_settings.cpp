#include "io/megatron_settings.h"

#include <algorithm>

#include "opweave/error.h"
#include "opweave/strategy_targets.h"

namespace opweave::io {

std::int64_t prediction_layers(const ModelDescription& model) {
  std::int64_t count = 0;
  for (const LayerRun& run : model.layers) count += run.predicts_ahead ? run.count : 0;
  return count;
}

std::int64_t decoder_layers(const ModelDescription& model) { return model.layer_count() - prediction_layers(model); }

std::string pipeline_layout(const ModelDescription& model, const Strategy& strategy) {
  if (strategy.pipeline == 1) return {};
  std::string letters;
  for (const LayerRun& run : model.layers) {
    letters.append(static_cast<std::size_t>(run.count), run.predicts_ahead ? 'm' : 't');
  }
  if (letters.find("mt") != std::string::npos) {
    throw InputError("a module that predicts further ahead comes before a decoder layer, Megatron-LM has it after all");
  }
  std::vector<std::string> stages;
  std::size_t at = 0;
  for (const std::uint32_t layers : layers_of_stages(model, strategy)) {
    stages.push_back(letters.substr(at, layers));
    at += layers;
  }
  const auto has_predictions = [](const std::string& stage) { return stage.find('m') != std::string::npos; };
  if (std::ranges::count_if(stages, has_predictions) > 1) {
    throw InputError("modules that predict further ahead lie in several stages, Megatron-LM keeps them in one");
  }
  const auto place = std::ranges::find_if(stages, has_predictions) - stages.begin();
  if (place + strategy.pipeline < std::ssize(stages)) {
    throw InputError("modules that predict further ahead lie in a stage that is not the last of its rank");
  }
  stages.front().insert(stages.front().begin(), 'E');
  stages.back() += 'L';
  return megatron_layout(stages);
}

std::optional<std::uint32_t> recomputed_layers_per_chunk(const Strategy& strategy) {
  if (strategy.recompute != Recompute::kFull || !strategy.recomputed_layers) return std::nullopt;
  return *strategy.recomputed_layers / strategy.chunks;
}

std::vector<std::string_view> offloaded_modules(const ModelDescription& model, const Strategy& strategy) {
  const auto is_made_again = [&](LayerModule module) { return strategy.recomputed_modules.has(module); };
  const bool has_latents =
      std::ranges::any_of(model.layers, [](const LayerRun& run) { return run.attention.latent.has_value(); });
  std::vector<std::string_view> modules;
  if (has_latents) modules.emplace_back("attn_norm");
  modules.insert(modules.end(), {"qkv_linear", "core_attn", "attn_proj"});
  if (!has_experts(model)) return modules;
  modules.emplace_back("mlp_norm");
  if (!is_made_again(LayerModule::kExperts)) modules.insert(modules.end(), {"expert_fc1", "moe_act"});
  return modules;
}

std::string_view fsdp_strategy(const Strategy& strategy) {
  if (strategy.sharding == Sharding::kGradients) return "optim_grads";
  return strategy.sharding == Sharding::kWeights ? "optim_grads_params" : "";
}

bool has_experts(const ModelDescription& model) {
  return std::ranges::any_of(model.layers, [](const LayerRun& run) { return run.experts.has_value(); });
}

}  // namespace opweave::io
