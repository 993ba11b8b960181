// State spaces, and hybrids of them with attention.
#include <fmt/format.h>

#include <algorithm>

#include "io/hf_mixers.h"
#include "io/hf_models.h"

namespace opweave::io {

ModelDescription read_hf_mamba(const HfConfig& config) {
  const std::string type = config.text("model_type");
  ModelDescription model = read_outside(config, type, true);
  const MambaKeys keys{.expand = "expand",
                       .state = "state_size",
                       .rank = "time_step_rank",
                       .taps = "conv_kernel",
                       .conv_bias = "use_conv_bias",
                       .bias = "use_bias",
                       .has_norms = false};  // Falcon's have no weights
  LayerRun layer;
  layer.count = layers_of(config);
  layer.other_parameters = model.hidden;
  model.layers = {with_mixer(layer, read_mamba(config, keys, model.hidden))};
  const std::int64_t values = model.layers.front().recurrence->values();
  if (config.integer({"intermediate_size", "d_inner"}).value_or(values) != values) {
    config.reject("intermediate_size", fmt::format("expand x hidden_size = {}", values));
  }
  // Of the converted files of the first models: the same sizes once more, and how their kernels ran.
  config.ignore({"d_model", "n_layer", "fused_add_norm", "rms_norm", "pad_vocab_size_multiple", "ssm_cfg",
                 "use_falcon_mambapy", "layer_types"});
  config.expect_all_known();
  return model;
}

ModelDescription read_hf_mamba2(const HfConfig& config) {
  ModelDescription model = read_outside(config, "mamba2");
  const Mamba2Keys keys{"num_heads", "n_groups", "state_size", "conv_kernel", "use_conv_bias", "use_bias", "use_bias"};
  const std::int64_t values = config.required({"expand"}) * model.hidden;
  config.ignore({"head_dim", "time_step_rank"});
  LayerRun layer;
  layer.count = layers_of(config);
  layer.other_parameters = model.hidden;
  model.layers = {with_mixer(layer, read_mamba2(config, keys, model.hidden, values))};
  config.expect_all_known();
  return model;
}

ModelDescription read_hf_bamba(const HfConfig& config) {
  ModelDescription model = read_outside(config, "bamba");
  const std::int64_t values = config.required({"mamba_expand"}) * model.hidden;
  const Attention attention = read_attention(config, model.hidden);
  LayerRun layer;
  layer.mlp.width = config.required({"intermediate_size"});
  layer.other_parameters = 2 * model.hidden + perceptron_biases(config, layer.mlp, model.hidden);
  const auto where = config.integers("attn_layer_indices").value_or(std::vector<std::int64_t>{});
  config.ignore({"mamba_d_head", "layer_types", "layers_block_type"});
  const LayerRun linear = with_mixer(layer, read_mamba2(config, {}, model.hidden, values));
  const LayerRun full = with_attention(layer, attention, attention_biases(config, attention, model.hidden));
  for (std::int64_t i = 0, layers = layers_of(config); i < layers; ++i) {
    add_layer(model.layers, std::ranges::find(where, i) == where.end() ? linear : full);
  }
  config.expect_all_known();
  return model;
}

ModelDescription read_hf_falcon_h1(const HfConfig& config) {
  ModelDescription model = read_outside(config, "falcon_h1");
  const std::int64_t expanded = config.integer({"mamba_expand"}).value_or(2) * model.hidden;
  const std::int64_t values = config.integer({"mamba_d_ssm"}).value_or(expanded);
  const Attention attention = read_attention(config, model.hidden);
  Mamba2Keys keys;
  keys.out_bias = "projectors_bias";
  LayerRun layer;
  layer.count = layers_of(config);
  layer.mlp.width = config.required({"intermediate_size"});
  layer.other_parameters = 2 * model.hidden + perceptron_biases(config, layer.mlp, model.hidden);
  layer = with_mixer(layer, read_mamba2(config, keys, model.hidden, values, config.truth("mamba_rms_norm", false)));
  model.layers = {with_attention(layer, attention, attention_biases(config, attention, model.hidden))};
  config.ignore({"mamba_d_head", "mamba_norm_before_gate", "lm_head_multiplier", "mlp_multipliers", "key_multiplier",
                 "attention_out_multiplier", "attention_in_multiplier", "ssm_multipliers", "ssm_in_multiplier",
                 "ssm_out_multiplier", "mlp_expansion_factor", "layer_types", "layers_block_type"});
  config.expect_all_known();
  return model;
}

namespace {

/// Kinds of Nemotron-H's layers: M, *, -, E.
std::string nemotron_pattern(const HfConfig& config) {
  std::string pattern = config.text("hybrid_override_pattern");
  const auto types = config.texts("layers_block_type");
  config.ignore({"layer_types", "num_hidden_layers"});
  if (types) {
    pattern.clear();
    for (const std::string& type : *types) {
      const bool is_linear = type == "linear_attention" || type == "mamba";
      const bool is_full = type == "full_attention" || type == "attention";
      pattern += is_linear ? 'M' : is_full ? '*' : type == "mlp" ? '-' : type == "moe" ? 'E' : '?';
    }
  }
  if (pattern.empty()) config.fail("key \"layers_block_type\" is missing, expected an entry per layer");
  if (pattern.find_first_not_of("M*-E") != std::string::npos) {
    config.reject(types ? "layers_block_type" : "hybrid_override_pattern",
                  "M, *, - and E alone (\"linear_attention\", \"full_attention\", \"mlp\", \"moe\")");
  }
  return pattern;
}

}  // namespace

ModelDescription read_hf_nemotron_h(const HfConfig& config) {
  ModelDescription model = read_outside(config, "nemotron_h");
  model.has_tied_embeddings = false;  // its class in transformers ties nothing, whatever `tie_word_embeddings`
  const std::int64_t hidden = model.hidden;
  const Mamba2Keys keys{"mamba_num_heads", "n_groups", "ssm_state_size", "conv_kernel",
                        "use_conv_bias",   "use_bias", "use_bias"};
  const std::int64_t values = config.required({"mamba_num_heads"}) * config.required({"mamba_head_dim"});
  if (config.has("moe_latent_size")) config.reject("moe_latent_size", "null: experts of the hidden width");
  config.ignore({"expand", "mamba_proj_bias", "moe_shared_expert_overlap", "attention_bias", "n_shared_experts"});
  LayerRun part;
  part.other_parameters = hidden;
  const std::string pattern = nemotron_pattern(config);
  const auto has = [&](char kind) { return pattern.find(kind) != std::string::npos; };
  LayerRun linear = part;
  if (has('M')) linear = with_mixer(part, read_mamba2(config, keys, hidden, values));
  Attention attention = read_attention(config, hidden);
  attention.window = config.integer({"sliding_window"});
  const LayerRun full = with_attention(part, attention, 0);
  LayerRun dense = part;
  dense.mlp = {config.integer({"intermediate_size"}).value_or(0), false};
  if (has('-') && dense.mlp.width == 0) dense.mlp.width = config.required({"intermediate_size"});
  dense.other_parameters += perceptron_biases(config, dense.mlp, hidden);
  LayerRun sparse = part;
  if (has('E')) {
    const Mlp shared{config.required({"moe_shared_expert_intermediate_size"}), false};
    sparse.experts = Experts{.count = config.required({"n_routed_experts"}),
                             .active = config.required({"num_experts_per_tok"}),
                             .expert = {config.required({"moe_intermediate_size"}), false},
                             .shared_width = shared.width};
    sparse.other_parameters += sparse.experts->count * hidden + perceptron_biases(config, shared, hidden);
  }
  // Sizes of kinds that no layer is of.
  config.ignore({"ssm_state_size", "n_groups", "conv_kernel", "use_conv_bias", "use_bias", "mlp_bias"});
  config.ignore({"moe_shared_expert_intermediate_size", "n_routed_experts", "num_experts_per_tok",
                 "moe_intermediate_size", "num_local_experts", "num_experts"});
  for (const char kind : pattern) {
    add_layer(model.layers, kind == 'M' ? linear : kind == '*' ? full : kind == '-' ? dense : sparse);
  }
  config.expect_all_known();
  return model;
}

ModelDescription read_hf_granite_hybrid(const HfConfig& config) {
  ModelDescription model = read_outside(config, "granitemoehybrid");
  const std::int64_t hidden = model.hidden;
  const std::int64_t layers = layers_of(config);
  const Attention attention = read_attention(config, hidden);
  const std::int64_t biases = attention_biases(config, attention, hidden);
  const std::int64_t width = config.required({"intermediate_size"});
  const std::int64_t shared = config.required({"shared_intermediate_size"});
  const std::int64_t experts = config.integer({"num_local_experts"}).value_or(0);
  const std::int64_t active = config.integer({"num_experts_per_tok"}).value_or(0);
  auto types = types_of_layers(config, "layer_types", layers);
  if (!types) types = types_of_layers(config, "layers_block_type", layers);
  if (!types) config.fail("key \"layer_types\" is missing, expected an entry per layer");
  const std::vector<bool> is_linear = linear_layers(config, "layer_types", *types);
  config.ignore({"layers_block_type", "mamba_d_head", "position_embedding_type", "normalization_function"});
  LayerRun layer;
  layer.other_parameters = 2 * hidden;
  if (experts > 0) {
    layer.experts = Experts{.count = experts, .active = active, .expert = {.width = width}, .shared_width = shared};
    layer.other_parameters += experts * hidden;
  } else {
    layer.mlp.width = shared;  // the shared one is all there is
  }
  const std::int64_t values = config.required({"mamba_expand"}) * hidden;
  const Mixer mixer = read_mamba2(config, {}, hidden, values);
  for (const bool linear : is_linear) {
    add_layer(model.layers, linear ? with_mixer(layer, mixer) : with_attention(layer, attention, biases));
  }
  config.expect_all_known();
  return model;
}

ModelDescription read_hf_jamba(const HfConfig& config) {
  ModelDescription model = read_outside(config, "jamba");
  const std::int64_t hidden = model.hidden;
  const Attention attention = read_attention(config, hidden);
  const Mixer mixer = read_mamba(config, {}, hidden);
  const std::int64_t width = config.required({"intermediate_size"});
  const std::int64_t experts = config.required({"num_experts"});
  const std::int64_t active = config.required({"num_experts_per_tok"});
  const auto every = [&](std::string_view period, std::string_view offset) {
    const std::int64_t step = std::max<std::int64_t>(1, config.required({period}));
    return [step, first = config.required({offset})](std::int64_t i) { return i % step == first; };
  };
  const auto has_attention = every("attn_layer_period", "attn_layer_offset");
  const auto has_experts = every("expert_layer_period", "expert_layer_offset");
  config.ignore({"layer_types", "layers_block_type", "layers_num_experts"});
  for (std::int64_t i = 0, layers = layers_of(config); i < layers; ++i) {
    LayerRun layer;
    layer.other_parameters = 2 * hidden;
    if (experts > 1 && has_experts(i)) {
      layer.experts = Experts{.count = experts, .active = active, .expert = {.width = width}};
      layer.other_parameters += experts * hidden;
    } else {
      layer.mlp.width = width;
    }
    add_layer(model.layers, has_attention(i) ? with_attention(layer, attention, 0) : with_mixer(layer, mixer));
  }
  config.expect_all_known();
  return model;
}

ModelDescription read_hf_recurrent_gemma(const HfConfig& config) {
  ModelDescription model = read_outside(config, "recurrent_gemma", true);
  const std::int64_t hidden = model.hidden;
  Attention attention = read_attention(config, hidden);
  attention.window = config.required({"attention_window_size"});
  Mixer mixer;
  Recurrence& r = mixer.recurrence;
  r.update = StateUpdate::kLru;
  r.heads = r.key_heads = attention.heads;
  r.key_dim = 1;
  const std::int64_t width = config.integer({"lru_width"}).value_or(hidden);
  if (r.heads < 1 || width % r.heads != 0) config.reject("lru_width", fmt::format("a multiple of {} heads", r.heads));
  r.value_dim = width / r.heads;
  r.convolution = config.required({"conv1d_width"});
  r.has_gate = true;
  // A decay and biases of both shares by column, the convolution's, those into values and gates, and out.
  mixer.extras = (1 + 2 + r.convolution + 1 + 2) * width + hidden;
  LayerRun layer;
  layer.mlp.width = config.required({"intermediate_size"}) / 2;
  layer.other_parameters = 2 * hidden + 2 * layer.mlp.width + hidden;
  std::int64_t biases = hidden;
  if (config.truth("attention_bias", false)) {
    biases += (attention.heads + 2 * attention.kv_heads) * attention.head_dim;
  }
  // The pattern is repeated, and cut off after the last layer.
  const auto pattern = config.texts("block_types");
  if (!pattern || pattern->empty()) config.fail("key \"block_types\" is missing, expected a list of texts");
  for (std::int64_t i = 0, layers = layers_of(config); i < layers; ++i) {
    const std::string& type = pattern->at(static_cast<std::size_t>(i) % pattern->size());
    if (type != "recurrent" && type != "attention")
      config.reject("block_types", "\"recurrent\" or \"attention\" alone");
    add_layer(model.layers, type == "recurrent" ? with_mixer(layer, mixer) : with_attention(layer, attention, biases));
  }
  config.ignore({"logits_soft_cap", "w_init_variance_scale", "final_w_init_variance_scale"});
  config.expect_all_known();
  return model;
}

}  // namespace opweave::io
