// State spaces, linear attention, and hybrids of them with attention.
#include <fmt/format.h>

#include <algorithm>

#include "io/hf_models.h"

namespace opweave::io {
namespace {

/// A mixer with what a layer has of it beside the matrices: convolutions, decays, norms, biases.
struct Mixer {
  Recurrence recurrence;
  std::int64_t extras = 0;
};

std::int64_t convolution_parameters(const Recurrence& recurrence, bool has_bias) {
  const std::int64_t channels = recurrence.values() + 2 * recurrence.queries();
  return channels * (recurrence.convolution + (has_bias ? 1 : 0));
}

/// Names under which an architecture states its Mamba-2.
struct Mamba2Keys {
  std::string_view heads = "mamba_n_heads";
  std::string_view groups = "mamba_n_groups";
  std::string_view state = "mamba_d_state";
  std::string_view taps = "mamba_d_conv";
  std::string_view conv_bias = "mamba_conv_bias";
  std::string_view in_bias = "mamba_proj_bias";
  std::string_view out_bias = "mamba_proj_bias";
};

Mixer read_mamba2(const HfConfig& config, const Mamba2Keys& keys, std::int64_t hidden, std::int64_t values,
                  bool has_norm = true) {
  Mixer mixer;
  Recurrence& r = mixer.recurrence;
  r.heads = config.required({keys.heads});
  if (r.heads < 1 || values % r.heads != 0) {
    config.reject(keys.heads, fmt::format("a divisor of the {} columns of the state space", values));
  }
  r.value_dim = values / r.heads;
  r.key_heads = config.required({keys.groups});
  r.key_dim = config.required({keys.state});
  r.convolution = config.required({keys.taps});
  r.decays = 1;
  r.has_gate = true;
  mixer.extras = convolution_parameters(r, config.truth(keys.conv_bias, true)) + 3 * r.heads + (has_norm ? values : 0);
  if (config.truth(keys.in_bias, false)) mixer.extras += 2 * values + 2 * r.queries() + r.heads;
  if (config.truth(keys.out_bias, false)) mixer.extras += hidden;
  return mixer;
}

/// Mamba (version 1), with the norms of Jamba.
Mixer read_jamba_mamba(const HfConfig& config, std::int64_t hidden) {
  Mixer mixer;
  Recurrence& r = mixer.recurrence;
  r.update = StateUpdate::kScan;
  r.heads = config.required({"mamba_expand"}) * hidden;
  r.value_dim = r.key_heads = 1;
  r.key_dim = config.required({"mamba_d_state"});
  r.decay_rank = config.required({"mamba_dt_rank"});
  r.convolution = config.required({"mamba_d_conv"});
  r.has_gate = true;
  // The convolution sees values alone; decays by column and element of the state, a skip, norms.
  mixer.extras = r.values() * (r.convolution + (config.truth("mamba_conv_bias", true) ? 1 : 0)) + r.values() +
                 r.values() * (r.key_dim + 1) + r.decay_rank + 2 * r.key_dim;
  if (config.truth("mamba_proj_bias", false)) mixer.extras += 2 * r.values() + hidden;
  return mixer;
}

Mixer read_delta_net(const HfConfig& config) {
  Mixer mixer;
  Recurrence& r = mixer.recurrence;
  r.update = StateUpdate::kDelta;
  r.heads = config.required({"linear_num_value_heads"});
  r.key_heads = config.required({"linear_num_key_heads"});
  r.key_dim = config.required({"linear_key_head_dim"});
  r.value_dim = config.required({"linear_value_head_dim"});
  r.convolution = config.required({"linear_conv_kernel_dim"});
  r.decays = 2;
  r.has_gate = true;
  mixer.extras = convolution_parameters(r, false) + 2 * r.heads + r.value_dim;
  return mixer;
}

Attention read_attention(const HfConfig& config, std::int64_t hidden) {
  Attention attention;
  attention.heads = config.required({"num_attention_heads"});
  attention.kv_heads = config.integer({"num_key_value_heads"}).value_or(attention.heads);
  attention.head_dim = config.integer({"head_dim"}).value_or(hidden / std::max<std::int64_t>(1, attention.heads));
  return attention;
}

/// Biases of queries, keys, values (and gates) and of the result.
std::int64_t attention_biases(const HfConfig& config, const Attention& attention, std::int64_t hidden) {
  if (!config.truth("attention_bias", false)) return 0;
  const std::int64_t heads = attention.heads * (attention.has_gate ? 2 : 1) + 2 * attention.kv_heads;
  return heads * attention.head_dim + hidden;
}

std::int64_t perceptron_biases(const HfConfig& config, const Mlp& mlp, std::int64_t hidden) {
  return config.truth("mlp_bias", false) ? mlp.inner() * mlp.width + hidden : 0;
}

/// What all of these have: sizes, a table, one last norm.
ModelDescription read_outside(const HfConfig& config, std::string_view type) {
  ModelDescription model;
  model.name = type;
  model.hidden = config.required({"hidden_size"});
  model.vocabulary = config.required({"vocab_size"});
  model.has_tied_embeddings = config.truth("tie_word_embeddings", false);
  model.other_parameters = model.hidden;
  config.ignore({"max_position_embeddings", "num_logits_to_keep",
                 "residual_in_fp32",        "rescale_prenorm_residual",
                 "use_mamba_kernels",       "use_mambapy",
                 "use_associative_scan",    "time_step_limit",
                 "time_step_min",           "time_step_max",
                 "time_step_floor",         "time_step_rank",
                 "mamba_chunk_size",        "chunk_size",
                 "mamba_hidden_act",        "mlp_hidden_act",
                 "mamba_ssm_cache_dtype",   "num_nextn_predict_layers",
                 "mtp_layers_block_type",   "mtp_hybrid_override_pattern",
                 "z_loss_coefficient"});
  const auto architectures = config.texts("architectures");
  if (architectures && !architectures->empty() && !architectures->front().ends_with("ForCausalLM")) {
    config.reject("architectures", "a model that predicts tokens (...ForCausalLM)");
  }
  return model;
}

std::int64_t layers_of(const HfConfig& config) {
  const std::int64_t layers = config.required({"num_hidden_layers"});
  if (layers > 100'000) config.reject("num_hidden_layers", "at most 100000");
  return layers;
}

/// One text per layer, or nothing.
std::optional<std::vector<std::string>> types_of_layers(const HfConfig& config, std::string_view key,
                                                        std::int64_t layers) {
  auto types = config.texts(key);
  if (types && static_cast<std::int64_t>(types->size()) != layers) {
    config.fail(fmt::format("{} has {} entries, expected one for each of the {} layers", key, types->size(), layers));
  }
  return types;
}

/// Whether each layer has the linear mixer, by its text.
std::vector<bool> linear_layers(const HfConfig& config, std::string_view key, const std::vector<std::string>& types) {
  std::vector<bool> result;
  for (const std::string& type : types) {
    const bool is_linear = type == "linear_attention" || type == "mamba";
    if (!is_linear && type != "full_attention" && type != "attention") {
      config.reject(key, "\"full_attention\" or \"linear_attention\" alone");
    }
    result.push_back(is_linear);
  }
  return result;
}

/// The layer with the recurrence, or with attention.
LayerRun with_mixer(LayerRun layer, const Mixer& mixer) {
  layer.recurrence = mixer.recurrence;
  layer.other_parameters += mixer.extras;
  return layer;
}
LayerRun with_attention(LayerRun layer, const Attention& attention, std::int64_t extras) {
  layer.attention = attention;
  layer.other_parameters += extras;
  return layer;
}

}  // namespace

ModelDescription read_hf_mamba2(const HfConfig& config) {
  ModelDescription model = read_outside(config, "mamba2");
  const Mamba2Keys keys{"num_heads", "n_groups", "state_size", "conv_kernel", "use_conv_bias", "use_bias", "use_bias"};
  const std::int64_t values = config.required({"expand"}) * model.hidden;
  config.ignore({"head_dim"});
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

ModelDescription read_hf_jamba(const HfConfig& config) {
  ModelDescription model = read_outside(config, "jamba");
  const std::int64_t hidden = model.hidden;
  const Attention attention = read_attention(config, hidden);
  const Mixer mixer = read_jamba_mamba(config, hidden);
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

ModelDescription read_hf_qwen3_next(const HfConfig& config) {
  ModelDescription model = read_outside(config, "qwen3_next");
  const std::int64_t hidden = model.hidden;
  const std::int64_t layers = layers_of(config);
  Attention attention = read_attention(config, hidden);
  attention.has_gate = true;
  const std::int64_t beside = attention_biases(config, attention, hidden) + 2 * attention.head_dim;
  const Mixer mixer = read_delta_net(config);
  const std::int64_t interval = std::max<std::int64_t>(1, config.integer({"full_attention_interval"}).value_or(4));
  std::vector<bool> is_linear;
  if (const auto types = types_of_layers(config, "layer_types", layers)) {
    is_linear = linear_layers(config, "layer_types", *types);
  } else {
    for (std::int64_t i = 0; i < layers; ++i) is_linear.push_back((i + 1) % interval != 0);
  }
  // Experts are those of Qwen2-MoE: a gate of the shared one among them.
  const auto experts = read_hf_experts(config, {.experts = ExpertRule::kSparseStep}, "qwen2_moe", hidden, layers);
  const std::int64_t width = config.integer({"intermediate_size"}).value_or(0);
  for (std::size_t i = 0; i < is_linear.size(); ++i) {
    LayerRun layer;
    layer.other_parameters = 2 * hidden;
    if (experts->layers[i]) {
      layer.experts = experts->experts;
      layer.other_parameters += experts->extras;
    } else {
      layer.mlp.width = width > 0 ? width : config.required({"intermediate_size"});
    }
    add_layer(model.layers, is_linear[i] ? with_mixer(layer, mixer) : with_attention(layer, attention, beside));
  }
  config.expect_all_known();
  return model;
}

ModelDescription read_hf_minimax(const HfConfig& config) {
  ModelDescription model = read_outside(config, "minimax");
  const std::int64_t hidden = model.hidden;
  const std::int64_t layers = layers_of(config);
  Attention attention = read_attention(config, hidden);
  attention.window = config.integer({"sliding_window"});
  // Lightning attention: decays are fixed by head.
  Mixer mixer;
  mixer.recurrence.heads = mixer.recurrence.key_heads = attention.heads;
  mixer.recurrence.key_dim = mixer.recurrence.value_dim = attention.head_dim;
  mixer.recurrence.has_gate = true;
  mixer.extras = mixer.recurrence.values();  // norm
  const auto types = types_of_layers(config, "layer_types", layers);
  const auto numbers = config.integers("attn_type_list");  // 1 = softmax
  if (!types && !numbers) config.fail("key \"layer_types\" is missing, expected an entry per layer");
  std::vector<bool> is_linear;
  if (types) is_linear = linear_layers(config, "layer_types", *types);
  if (!types) {
    if (static_cast<std::int64_t>(numbers->size()) != layers) config.reject("attn_type_list", "an entry per layer");
    for (const std::int64_t number : *numbers) is_linear.push_back(number == 0);
  }
  config.ignore({"block_size", "full_attn_alpha_factor", "full_attn_beta_factor", "linear_attn_alpha_factor",
                 "linear_attn_beta_factor", "mlp_alpha_factor", "mlp_beta_factor"});
  LayerRun layer;
  const auto experts = read_hf_experts(config, {.experts = ExpertRule::kAll}, "minimax", hidden, layers);
  layer.experts = experts->experts;
  layer.other_parameters = 2 * hidden + experts->extras;
  for (const bool linear : is_linear) {
    add_layer(model.layers, linear ? with_mixer(layer, mixer) : with_attention(layer, attention, 0));
  }
  config.expect_all_known();
  return model;
}

}  // namespace opweave::io
