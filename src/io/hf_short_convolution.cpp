// Short convolutions beside attention: LFM2 and its mixture of experts.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "io/hf_mixers.h"
#include "io/hf_models.h"

namespace opweave::io {
namespace {

/// One product makes keys, gates and values of hidden width; its bias and that of the result go with the convolution's.
Mixer read_short_convolution(const HfConfig& config, std::int64_t hidden) {
  Mixer mixer;
  Recurrence& r = mixer.recurrence;
  r.update = StateUpdate::kConvolve;
  r.heads = r.key_heads = config.integer({"conv_dim"}).value_or(hidden);
  if (r.heads != hidden) config.reject("conv_dim", fmt::format("hidden_size = {}", hidden));
  r.key_dim = r.value_dim = 1;
  r.convolution = config.required({"conv_L_cache"});
  r.has_gate = true;
  mixer.extras = hidden * r.convolution + (config.truth("conv_bias", false) ? (1 + 3 + 1) * hidden : 0);
  return mixer;
}

/// Whether each layer is a convolution: as `layer_types` says, or all but `full_attn_idxs`.
std::vector<bool> convolved_layers(const HfConfig& config, std::int64_t layers) {
  const auto full = config.integers("full_attn_idxs");
  std::vector<bool> result(static_cast<std::size_t>(layers), false);
  if (const auto types = types_of_layers(config, "layer_types", layers)) {
    for (std::size_t i = 0; i < types->size(); ++i) {
      result[i] = types->at(i) == "conv";
      if (!result[i] && types->at(i) != "full_attention") {
        config.reject("layer_types", "\"full_attention\" or \"conv\" alone");
      }
    }
    return result;
  }
  if (!full) config.fail("keys \"layer_types\" and \"full_attn_idxs\" are missing, expected one of them");
  for (std::int64_t i = 0; i < layers; ++i) {
    result[static_cast<std::size_t>(i)] = std::ranges::find(*full, i) == full->end();
  }
  return result;
}

/// Two thirds of `intermediate_size`, scaled and rounded up, unless the switch is off.
std::int64_t adjusted_width(const HfConfig& config) {
  std::int64_t width = config.required({"block_ff_dim", "intermediate_size"});
  const bool is_adjusted = config.truth("block_auto_adjust_ff_dim", true);
  config.ignore({"block_ffn_dim_multiplier", "block_multiple_of"});
  if (!is_adjusted) return width;
  const auto factor = config.number("block_ffn_dim_multiplier");
  if (!factor) config.fail("key \"block_ffn_dim_multiplier\" is missing, expected a number");
  const std::int64_t multiple = std::max<std::int64_t>(1, config.required({"block_multiple_of"}));
  width = static_cast<std::int64_t>(std::floor(*factor * static_cast<double>(2 * width / 3)));
  return (width + multiple - 1) / multiple * multiple;
}

/// What both have, with layers yet to be given a perceptron.
struct ShortConvolutionModel {
  ModelDescription model;
  LayerRun convolved;
  LayerRun full;
  std::vector<bool> is_convolved;
};

ShortConvolutionModel read_mixers(const HfConfig& config, std::string_view type) {
  ShortConvolutionModel result;
  result.model = read_outside(config, type, true);
  const std::int64_t hidden = result.model.hidden;
  // The older name decides in transformers; where both are there, they must agree.
  if (config.has("tie_embedding")) {
    const bool ties = config.truth("tie_embedding", true);
    if (ties != config.truth("tie_word_embeddings", ties)) config.reject("tie_embedding", "as tie_word_embeddings");
    result.model.has_tied_embeddings = ties;
  }
  const Attention attention = read_attention(config, hidden);
  LayerRun layer;
  layer.other_parameters = 2 * hidden;
  result.convolved = with_mixer(layer, read_short_convolution(config, hidden));
  result.full = with_attention(layer, attention, 2 * attention.head_dim);  // norms of queries and keys
  result.is_convolved = convolved_layers(config, layers_of(config));
  // Second names, initial values, and how positions are made.
  config.ignore({"block_dim", "conv_dim_out", "num_heads", "theta", "use_pos_enc", "block_use_swiglu",
                 "block_mlp_init_scale", "block_out_init_scale", "block_use_xavier_init", "conv_use_xavier_init"});
  return result;
}

}  // namespace

ModelDescription read_hf_lfm2(const HfConfig& config) {
  auto [model, convolved, full, is_convolved] = read_mixers(config, "lfm2");
  convolved.mlp.width = full.mlp.width = adjusted_width(config);
  for (const bool is_one : is_convolved) add_layer(model.layers, is_one ? convolved : full);
  config.expect_all_known();
  return std::move(model);
}

ModelDescription read_hf_lfm2_moe(const HfConfig& config) {
  auto [model, convolved, full, is_convolved] = read_mixers(config, "lfm2_moe");
  const std::int64_t dense = config.integer({"num_dense_layers"}).value_or(0);
  const std::int64_t width = config.required({"intermediate_size"});
  const auto experts = read_hf_experts(config, {.experts = ExpertRule::kAll}, "lfm2_moe", model.hidden,
                                       static_cast<std::int64_t>(is_convolved.size()));
  for (std::size_t i = 0; i < is_convolved.size(); ++i) {
    LayerRun layer = is_convolved[i] ? convolved : full;
    if (static_cast<std::int64_t>(i) < dense) {
      layer.mlp.width = width;
    } else {
      layer.experts = experts->experts;
      layer.other_parameters += experts->extras;
    }
    add_layer(model.layers, layer);
  }
  config.ignore({"use_expert_bias"});  // a buffer
  config.expect_all_known();
  return std::move(model);
}

}  // namespace opweave::io
