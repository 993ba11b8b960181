// Attention without a softmax, and hybrids of it with attention.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "io/hf_mixers.h"
#include "io/hf_models.h"

namespace opweave::io {

namespace {

/// Which layers are linear: as `layer_types` says, or all but every `full_attention_interval`-th.
std::vector<bool> linear_or_interval(const HfConfig& config, std::int64_t layers) {
  const std::int64_t interval = std::max<std::int64_t>(1, config.integer({"full_attention_interval"}).value_or(4));
  if (const auto types = types_of_layers(config, "layer_types", layers)) {
    return linear_layers(config, "layer_types", *types);
  }
  std::vector<bool> is_linear;
  for (std::int64_t i = 0; i < layers; ++i) is_linear.push_back((i + 1) % interval != 0);
  return is_linear;
}

/// Qwen3-Next and its heirs: gated delta nets and gated attention.
ModelDescription read_qwen_hybrid(const HfConfig& config, std::string_view type, ExpertRule rule) {
  ModelDescription model = read_outside(config, type);
  const std::int64_t hidden = model.hidden;
  const std::int64_t layers = layers_of(config);
  Attention attention = read_attention(config, hidden);
  attention.has_gate = true;
  const std::int64_t beside = attention_biases(config, attention, hidden) + 2 * attention.head_dim;
  const Mixer mixer = read_delta_net(config);
  const std::vector<bool> is_linear = linear_or_interval(config, layers);
  // Experts are those of Qwen2-MoE: a gate of the shared one among them.
  const auto experts = read_hf_experts(config, {.experts = rule}, "qwen2_moe", hidden, layers);
  const std::int64_t width = config.integer({"intermediate_size"}).value_or(0);
  for (std::size_t i = 0; i < is_linear.size(); ++i) {
    LayerRun layer;
    layer.other_parameters = 2 * hidden;
    if (experts && experts->layers[i]) {
      layer.experts = experts->experts;
      layer.other_parameters += experts->extras;
    } else {
      layer.mlp.width = width > 0 ? width : config.required({"intermediate_size"});
    }
    add_layer(model.layers, is_linear[i] ? with_mixer(layer, mixer) : with_attention(layer, attention, beside));
  }
  config.ignore({"mamba_ssm_dtype", "mtp_num_hidden_layers", "mtp_use_dedicated_embeddings", "attn_output_gate"});
  config.expect_all_known();
  return model;
}

}  // namespace

ModelDescription read_hf_qwen3_next(const HfConfig& config) {
  return read_qwen_hybrid(config, "qwen3_next", ExpertRule::kSparseStep);
}
ModelDescription read_hf_qwen3_5(const HfConfig& config) {
  return read_qwen_hybrid(config, "qwen3_5_text", ExpertRule::kNone);
}
ModelDescription read_hf_qwen3_5_moe(const HfConfig& config) {
  return read_qwen_hybrid(config, "qwen3_5_moe_text", ExpertRule::kAll);
}

ModelDescription read_hf_olmo_hybrid(const HfConfig& config) {
  ModelDescription model = read_outside(config, "olmo_hybrid");
  const std::int64_t hidden = model.hidden;
  const Attention attention = read_attention(config, hidden);
  const std::int64_t norms = (attention.heads + attention.kv_heads) * attention.head_dim;
  LayerRun layer;
  layer.mlp.width = config.required({"intermediate_size"});
  layer.other_parameters = 2 * hidden;
  const LayerRun linear = with_mixer(layer, read_delta_net(config));
  const LayerRun full = with_attention(layer, attention, attention_biases(config, attention, hidden) + norms);
  for (const bool is_linear : linear_or_interval(config, layers_of(config))) {
    add_layer(model.layers, is_linear ? linear : full);
  }
  config.ignore({"linear_a_log_min", "linear_a_log_max", "linear_dt_min", "linear_dt_max", "linear_dt_init_floor",
                 "linear_allow_neg_eigval"});
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

namespace {

/// Kimi's linear attention: gated delta nets whose decays, by column of the keys, and gates go through a rank.
Mixer read_kimi_mixer(std::int64_t heads, std::int64_t head_dim, std::int64_t taps) {
  Mixer mixer;
  Recurrence& r = mixer.recurrence;
  r.update = StateUpdate::kDelta;
  r.heads = r.key_heads = heads;
  r.key_dim = r.value_dim = r.decay_rank = r.gate_rank = head_dim;
  r.decays = 1;  // strengths of writing
  r.convolution = taps;
  r.has_gate = true;
  // Decays: a bias per column, and a rate per head; the norm is that of one head.
  mixer.extras = convolution_parameters(r, false) + r.values() + heads + head_dim;
  return mixer;
}

Attention read_kimi_attention(const HfConfig& config) {
  Attention attention;
  attention.heads = attention.kv_heads = config.required({"num_attention_heads"});
  attention.head_dim = config.required({"qk_nope_head_dim"});
  attention.latent = LatentAttention{config.integer({"q_lora_rank"}).value_or(0), config.required({"kv_lora_rank"}),
                                     config.required({"qk_rope_head_dim"}), config.required({"v_head_dim"})};
  config.ignore({"head_dim", "qk_head_dim", "num_key_value_heads", "mla_use_nope"});
  return attention;
}

/// Where a layer is linear, and the linear mixer: in an object of their own (files on the Hub, whose layers are counted
/// from 1) or at the top.
std::pair<std::vector<bool>, Mixer> read_kimi_linear_part(const HfConfig& config, std::int64_t layers) {
  const auto nested = config.object("linear_attn_config");
  const auto types = types_of_layers(config, "layer_types", layers);
  std::vector<bool> is_linear;
  if (types) is_linear = linear_layers(config, "layer_types", *types);
  if (!nested) {
    if (!types) config.fail("key \"layer_types\" is missing, expected an entry per layer");
    return {is_linear, read_kimi_mixer(config.required({"linear_num_heads"}), config.required({"linear_head_dim"}),
                                       config.required({"linear_conv_kernel_dim"}))};
  }
  const HfConfig part(*nested);
  const auto full = part.integers("full_attn_layers").value_or(std::vector<std::int64_t>{});
  const auto linear = part.integers("kda_layers").value_or(std::vector<std::int64_t>{});
  for (std::int64_t i = 1; i <= layers && !types; ++i) {
    const bool is_full = std::ranges::find(full, i) != full.end();
    if (is_full == (std::ranges::find(linear, i) != linear.end())) {
      part.fail(fmt::format("layer {} is in {} of \"full_attn_layers\" and \"kda_layers\", expected one of them", i,
                            is_full ? "both" : "neither"));
    }
    is_linear.push_back(!is_full);
  }
  const Mixer mixer = read_kimi_mixer(part.required({"num_heads"}), part.required({"head_dim"}),
                                      part.required({"short_conv_kernel_size"}));
  part.expect_all_known();
  config.ignore({"linear_num_heads", "linear_head_dim", "linear_conv_kernel_dim"});
  return {is_linear, mixer};
}

/// Which layers have experts: as `mlp_layer_types` says, or all after the first ones.
std::vector<bool> sparse_layers(const HfConfig& config, std::int64_t layers) {
  const std::int64_t first = config.integer({"first_k_dense_replace"}).value_or(1);
  if (config.integer({"moe_layer_freq"}).value_or(1) != 1) config.reject("moe_layer_freq", "1");
  std::vector<bool> sparse;
  if (const auto types = types_of_layers(config, "mlp_layer_types", layers)) {
    for (const std::string& type : *types) {
      if (type != "sparse" && type != "dense") config.reject("mlp_layer_types", "\"dense\" or \"sparse\" alone");
      sparse.push_back(type == "sparse");
    }
    return sparse;
  }
  for (std::int64_t i = 0; i < layers; ++i) sparse.push_back(i >= first);
  return sparse;
}

}  // namespace

ModelDescription read_hf_kimi_linear(const HfConfig& config) {
  ModelDescription model = read_outside(config, "kimi_linear");
  const std::int64_t hidden = model.hidden;
  const std::int64_t layers = layers_of(config);
  const Attention attention = read_kimi_attention(config);
  const LatentAttention& latent = *attention.latent;
  std::int64_t beside = latent.query_rank + latent.key_value_rank;  // norms
  if (config.truth("attention_bias", false)) beside += beside + latent.position_dim + hidden;
  const auto [is_linear, mixer] = read_kimi_linear_part(config, layers);
  const std::vector<bool> has_experts = sparse_layers(config, layers);
  const auto experts = read_hf_experts(config, {.experts = ExpertRule::kAll}, "kimi_linear", hidden, layers);
  const std::int64_t width = config.required({"intermediate_size"});
  for (std::size_t i = 0; i < is_linear.size(); ++i) {
    LayerRun layer;
    layer.other_parameters = 2 * hidden;
    if (has_experts[i]) {
      layer.experts = experts->experts;
      layer.other_parameters += experts->extras;
    } else {
      layer.mlp.width = width;
    }
    add_layer(model.layers, is_linear[i] ? with_mixer(layer, mixer) : with_attention(layer, attention, beside));
  }
  config.ignore(
      {"model_max_length", "moe_renormalize", "moe_router_activation_func", "use_grouped_topk", "num_expert_group"});
  config.expect_all_known();
  return model;
}

ModelDescription read_hf_rwkv(const HfConfig& config) {
  ModelDescription model = read_outside(config, "rwkv");
  const std::int64_t hidden = model.hidden;
  Mixer mixer;
  Recurrence& r = mixer.recurrence;
  r.update = StateUpdate::kAverage;
  r.heads = r.key_heads = config.integer({"attention_hidden_size"}).value_or(hidden);
  r.key_dim = r.value_dim = 1;
  r.has_gate = true;
  mixer.extras = 2 * r.values() + 3 * hidden;  // a decay and a bonus per column; shares of the token before
  LayerRun layer;
  layer.count = layers_of(config);
  layer.mlp = {
      .width = config.integer({"intermediate_size"}).value_or(4 * hidden), .is_gated = false, .has_result_gate = true};
  layer.other_parameters = 4 * hidden + 2 * hidden;  // norms with biases; shares of the token before
  model.other_parameters = 4 * hidden;               // norms before the first layer and after the last
  model.layers = {with_mixer(layer, mixer)};
  config.ignore({"rescale_every"});
  config.expect_all_known();
  return model;
}

namespace {

/// `factor` x hidden, rounded down, or up to a multiple.
std::int64_t scaled(const HfConfig& config, std::string_view factor, std::int64_t hidden, std::int64_t multiple) {
  const auto value = config.number(factor);
  if (!value) config.fail(fmt::format("key \"{}\" is missing, expected a number", factor));
  const double width = *value * static_cast<double>(hidden);
  if (multiple <= 1) return static_cast<std::int64_t>(width);
  const auto parts = std::floor((width + static_cast<double>(multiple) - 1) / static_cast<double>(multiple));
  return static_cast<std::int64_t>(parts) * multiple;
}

}  // namespace

ModelDescription read_hf_xlstm(const HfConfig& config) {
  ModelDescription model = read_outside(config, "xlstm");
  model.has_tied_embeddings = false;  // its class in transformers ties nothing, whatever `tie_word_embeddings`
  const std::int64_t hidden = config.required({"hidden_size", "embedding_dim"});
  const bool has_biases = config.truth("use_bias", false);
  Mixer mixer;
  Recurrence& r = mixer.recurrence;  // mLSTM: keys and values into a state that decays by head
  r.heads = r.key_heads = config.required({"num_heads"});
  const std::int64_t values = scaled(config, "v_dim_factor", hidden, 1);
  const std::int64_t keys = scaled(config, "qk_dim_factor", hidden, 1);
  if (r.heads < 1 || values % r.heads != 0 || keys % r.heads != 0) {
    config.reject("num_heads", fmt::format("a divisor of the {} columns of values and {} of keys", values, keys));
  }
  r.value_dim = values / r.heads;
  r.key_dim = keys / r.heads;
  r.decays = 2;  // of the state, and shares of what comes in
  r.has_gate = true;
  mixer.extras = 2 * r.heads + values;  // their biases, a norm by head
  if (has_biases) mixer.extras += 2 * keys + 3 * values + hidden;
  LayerRun layer;
  layer.count = config.required({"num_hidden_layers", "num_blocks"});
  layer.mlp.width = scaled(config, "ffn_proj_factor", hidden, config.required({"ffn_round_up_to_multiple_of"}));
  layer.other_parameters = 2 * hidden;
  if (has_biases) layer.other_parameters += 2 * hidden + 2 * layer.mlp.width + hidden;
  model.layers = {with_mixer(layer, mixer)};
  // How its kernels run, and norms and caps without weights of their own.
  config.ignore({"norm_reduction_force_float32", "add_out_norm", "chunkwise_kernel", "sequence_kernel", "step_kernel",
                 "mode", "return_last_states", "autocast_kernel_dtype", "eps", "inference_state_dtype", "gate_soft_cap",
                 "output_logit_soft_cap", "weight_mode", "max_inference_chunksize"});
  config.expect_all_known();
  return model;
}

}  // namespace opweave::io
