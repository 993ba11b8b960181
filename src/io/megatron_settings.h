/// What of a strategy and a model Megatron-LM has words for: the parts that its arguments and a recipe of
/// Megatron-Bridge share.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "opweave/strategy_files.h"

namespace opweave::io {

/// The version whose parsers the files are tested with.
inline constexpr std::string_view kMegatronCoreVersion = "0.19.2";
inline constexpr std::string_view kMegatronBridgeVersion = "0.6.2";

/// Decoder layers, and modules that predict further ahead (multi-token prediction).
[[nodiscard]] std::int64_t decoder_layers(const ModelDescription& model);
[[nodiscard]] std::int64_t prediction_layers(const ModelDescription& model);

/// Layout of the pipeline; empty without one. \throws InputError where modules that predict further ahead come before a
/// decoder layer or lie in several stages
[[nodiscard]] std::string pipeline_layout(const ModelDescription& model, const Strategy& strategy);

/// Layers that each stage makes again, block by block; nothing = all of them, or none.
[[nodiscard]] std::optional<std::uint32_t> recomputed_layers_per_chunk(const Strategy& strategy);

/// Modules whose kept inputs go to the host (`--offload-modules`): all of its words that the model has, but those whose
/// inputs are made again.
[[nodiscard]] std::vector<std::string_view> offloaded_modules(const ModelDescription& model, const Strategy& strategy);

/// Megatron's FSDP, which shares out gradients or weights too: "optim_grads", "optim_grads_params"; empty without.
[[nodiscard]] std::string_view fsdp_strategy(const Strategy& strategy);

[[nodiscard]] bool has_experts(const ModelDescription& model);

// \throws InputError with the reason where Megatron-LM has no word for the strategy.
[[nodiscard]] std::string megatron_arguments(const ModelDescription& model, const TrainingRun& run,
                                             const Strategy& strategy);
[[nodiscard]] std::string megatron_recipe(const ModelDescription& model, const TrainingRun& run,
                                          const Strategy& strategy, const std::string& base);

}  // namespace opweave::io
