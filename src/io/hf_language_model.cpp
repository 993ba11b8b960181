// Decoders, and encoders that predict masked tokens: embedding, equal or nearly equal layers, head.
#include <fmt/format.h>

#include <algorithm>

#include "io/hf_models.h"

namespace opweave::io {
namespace {

Attention read_attention(const HfConfig& config, const Habits& habits, std::string_view type, std::int64_t hidden) {
  Attention attention;
  attention.heads = config.required({"num_attention_heads", "n_head", "n_heads", "num_heads"});
  attention.is_causal = habits.is_causal;
  const std::int64_t heads = std::max<std::int64_t>(1, attention.heads);
  attention.head_dim = habits.head_dim > 0 ? habits.head_dim : hidden / heads;
  if (habits.reads_head_dim) {
    if (const auto given = config.integer({"head_dim"})) attention.head_dim = *given;
  }
  attention.kv_heads = habits.kv_heads > 0 ? habits.kv_heads : attention.heads;
  if (habits.reads_kv_heads) {
    if (const auto given = config.integer({"num_key_value_heads"})) attention.kv_heads = *given;
  }
  if (type == "gpt_bigcode") {
    if (config.truth("multi_query", true)) attention.kv_heads = 1;
    config.ignore({"num_key_value_heads", "head_dim"});
  }
  if (type == "falcon") {
    const auto given = config.integer({"num_kv_heads"});
    const bool has_one = config.truth("multi_query", true);
    attention.kv_heads = config.truth("new_decoder_architecture", false) ? given.value_or(heads) : has_one ? 1 : heads;
  }
  if (habits.has_latents) {
    attention.head_dim = config.required({"qk_nope_head_dim"});
    attention.kv_heads = attention.heads;
    attention.latent = LatentAttention{config.integer({"q_lora_rank"}).value_or(0), config.required({"kv_lora_rank"}),
                                       config.required({"qk_rope_head_dim"}), config.required({"v_head_dim"})};
    config.ignore({"head_dim", "qk_head_dim", "num_key_value_heads"});
  }
  if (!habits.reads_head_dim && attention.heads * attention.head_dim != hidden) {
    config.fail(fmt::format("hidden size {} is no multiple of the {} heads", hidden, attention.heads));
  }
  if (habits.out_is_square && attention.heads * attention.head_dim != hidden) {
    config.fail(fmt::format("{} heads of {} are not the hidden size {}", attention.heads, attention.head_dim, hidden));
  }
  return attention;
}

std::int64_t norms_of_layer(const HfConfig& config, const Habits& habits, std::string_view type) {
  if (type == "stablelm") return config.truth("use_parallel_residual", false) ? 1 : 2;
  if (type == "falcon") {
    if (!config.truth("parallel_attn", true)) return 2;
    const bool is_new = config.truth("new_decoder_architecture", false);
    return config.integer({"num_ln_in_parallel_attn"}).value_or(is_new ? 2 : 1) == 2 ? 2 : 1;
  }
  return habits.norms;
}

/// Norms and biases of a layer without its perceptron.
std::int64_t small_parameters(const HfConfig& config, const Habits& habits, std::string_view type,
                              const Attention& attention, std::int64_t hidden, std::int64_t norm) {
  std::int64_t sum = norms_of_layer(config, habits, type) * norm + habits.layer_extras;
  const std::int64_t queries = attention.heads * attention.head_dim;
  const std::int64_t keys = attention.kv_heads * attention.head_dim;
  if (is_on(config, habits.qkv_bias)) sum += queries + 2 * keys;
  if (is_on(config, habits.out_bias)) sum += hidden;
  if (type == "gpt_oss") sum += attention.heads;  // sinks
  if (habits.qk_norm != QkNorm::kNone && is_on(config, habits.has_qk_norm)) {
    const std::int64_t width = habits.qk_norm == QkNorm::kPerHead ? 2 * attention.head_dim : queries + keys;
    sum += width * (habits.qk_norm_has_bias ? 2 : 1);
  }
  if (attention.latent) {
    const LatentAttention& latent = *attention.latent;
    sum += latent.query_rank + latent.key_value_rank;  // norms of the latents
    if (is_on(config, habits.out_bias)) sum += latent.query_rank + latent.key_value_rank + latent.position_dim;
  }
  return sum;
}

/// Refuses what would change the parameters of an architecture in a way that is not known.
void expect_usual(const HfConfig& config, std::string_view type) {
  if (type == "mpt") {
    if (config.integer({"expansion_ratio"}).value_or(4) != 4) config.reject("expansion_ratio", "4");
    config.ignore(
        {"no_bias", "learned_pos_emb", "norm_type", "init_device", "embedding_fraction", "attn_config", "max_seq_len"});
  }
  if (type == "llama4_text") config.ignore({"use_qk_norm"});  // norms without weights
  if (type == "opt") {
    const std::int64_t hidden = config.required({"hidden_size"});
    if (config.integer({"word_embed_proj_dim"}).value_or(hidden) != hidden) {
      config.reject("word_embed_proj_dim", "hidden_size");
    }
    if (!config.truth("do_layer_norm_before", true)) config.reject("do_layer_norm_before", "true");
    if (!config.truth("layer_norm_elementwise_affine", true)) config.reject("layer_norm_elementwise_affine", "true");
    if (config.truth("_remove_final_layer_norm", false)) config.reject("_remove_final_layer_norm", "false");
  }
  if (type == "bloom") {
    config.ignore({"attention_softmax_in_fp32", "bias_dropout_fusion", "masked_softmax_fusion", "offset_alibi",
                   "skip_bias_add", "skip_bias_add_qkv"});
  }
  if (type == "cohere2") {
    config.ignore({"order_of_interleaved_layers", "position_embedding_type", "use_embedding_sharing",
                   "use_gated_activation", "use_parallel_block", "use_parallel_embedding"});
  }
  if (type == "starcoder2") config.ignore({"mlp_type", "norm_type"});
  config.ignore({"alibi", "apply_residual_connection_post_layernorm", "slow_but_exact", "rotary_dim",
                 "attention_softmax_in_fp32", "scale_attention_softmax_in_fp32", "use_parallel_residual",
                 "use_bidirectional_attention", "chunk_size_feed_forward", "position_embedding_type",
                 "sinusoidal_pos_embds", "moe_norm_min", "num_nextn_predict_layers", "num_mtp_layers",
                 "max_position_embeddings", "n_positions", "rope_interleave", "qk_layernorm_type"});
}

void expect_language_head(const HfConfig& config) {
  const auto architectures = config.texts("architectures");
  if (!architectures || architectures->empty()) return;
  const std::string& name = architectures->front();
  const bool predicts = name.ends_with("ForCausalLM") || name.ends_with("LMHeadModel") ||
                        name.ends_with("ForMaskedLM") || name.ends_with("ForConditionalGeneration");
  if (!predicts) config.reject("architectures", "a model that predicts tokens (...ForCausalLM, ...ForMaskedLM)");
}

std::int64_t outside_parameters(const HfConfig& config, const Habits& habits, const ModelDescription& model,
                                std::int64_t norm) {
  const std::int64_t hidden = model.hidden;
  std::int64_t sum = habits.has_last_norm ? norm : 0;
  if (habits.has_embedding_norm) sum += norm;
  if (habits.has_positions) {
    sum += (config.required({"n_positions", "max_position_embeddings"}) + habits.extra_positions) * hidden;
  }
  if (habits.has_token_types) sum += config.integer({"type_vocab_size"}).value_or(2) * hidden;
  if (habits.transforms_head) sum += hidden * hidden + hidden + norm;
  if (is_on(config, habits.head_bias)) sum += model.vocabulary;
  return sum;
}

std::int64_t perceptron_width(const HfConfig& config, const Habits& habits, std::string_view type, std::int64_t hidden,
                              bool has_experts) {
  if (type == "llama4_text") return config.required({"intermediate_size_mlp"});
  const std::initializer_list<std::string_view> keys = {"intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size",
                                                        "hidden_dim"};
  if (const auto width = config.integer(keys)) return *width;
  if (habits.width_factor > 0) return habits.width_factor * hidden;
  return has_experts ? 0 : config.required(keys);  // mixtures may have no dense layer
}

/// Modules that predict further ahead: layers like the last one, which share embedding and head.
void add_prediction_modules(const HfConfig& config, ModelDescription& model) {
  const std::int64_t count = config.integer({"num_nextn_predict_layers", "num_mtp_layers"}).value_or(0);
  if (count == 0)
    config.fail("key \"num_nextn_predict_layers\" is missing or 0, expected the modules that predict ahead");
  LayerRun layer = model.layers.back();
  layer.count = count;
  layer.predicts_ahead = true;
  model.layers.push_back(layer);
}

}  // namespace

bool is_on(const HfConfig& config, const Switch& part) {
  return part.key.empty() ? part.otherwise : config.truth(part.key, part.otherwise);
}

void add_layer(std::vector<LayerRun>& runs, const LayerRun& layer) {
  LayerRun same = layer;
  if (!runs.empty()) same.count = runs.back().count;
  if (!runs.empty() && runs.back() == same) {
    runs.back().count += layer.count;
  } else {
    runs.push_back(layer);
  }
}

ModelDescription read_hf_language_model(const HfConfig& config, std::string_view type, const HfOptions& options) {
  const Habits& habits = known_habits().at(type);
  expect_language_head(config);
  expect_usual(config, type);
  ModelDescription model;
  model.name = type;
  model.hidden = config.required({"hidden_size", "n_embd", "d_model", "dim"});
  model.vocabulary = config.required({"vocab_size"});
  model.has_tied_embeddings = config.truth("tie_word_embeddings", habits.ties_by_default);
  const std::int64_t norm = model.hidden * (is_on(config, habits.norm_bias) ? 2 : 1);
  model.other_parameters = outside_parameters(config, habits, model, norm);
  const std::int64_t layers = config.required({"num_hidden_layers", "n_layer", "n_layers", "num_layers"});
  if (layers > 100'000) config.reject("num_hidden_layers", "at most 100000");

  LayerRun dense;
  dense.attention = read_attention(config, habits, type, model.hidden);
  const std::int64_t small = small_parameters(config, habits, type, dense.attention, model.hidden, norm);
  dense.other_parameters = small;
  dense.mlp.is_gated = habits.is_gated;
  const auto experts = read_hf_experts(config, habits, type, model.hidden, layers);
  dense.mlp.width = perceptron_width(config, habits, type, model.hidden, experts.has_value());
  if (is_on(config, habits.mlp_bias)) dense.other_parameters += dense.mlp.inner() * dense.mlp.width + model.hidden;
  const auto windows = read_hf_attention_windows(config, habits, layers);
  for (std::size_t i = 0; i < windows.size(); ++i) {
    LayerRun layer = dense;
    layer.attention.window = windows[i];
    if (experts && experts->layers[i]) {
      layer.mlp = {};
      layer.experts = experts->experts;
      layer.other_parameters = small + experts->extras;
    }
    add_layer(model.layers, layer);
  }
  if (options.with_prediction_modules) add_prediction_modules(config, model);
  config.expect_all_known();
  return model;
}

ModelDescription read_hf_dbrx(const HfConfig& config) {
  expect_language_head(config);
  ModelDescription model;
  model.name = "dbrx";
  model.hidden = config.required({"d_model"});
  model.vocabulary = config.required({"vocab_size"});
  model.has_tied_embeddings = config.truth("tie_word_embeddings", false);
  model.other_parameters = model.hidden;
  LayerRun layer;
  layer.count = config.required({"n_layers"});
  layer.attention.heads = config.required({"n_heads"});
  layer.attention.head_dim = model.hidden / std::max<std::int64_t>(1, layer.attention.heads);
  const auto attention = config.object("attn_config");
  const auto perceptron = config.object("ffn_config");
  if (!attention || !perceptron) config.fail("expected the objects \"attn_config\" and \"ffn_config\"");
  const HfConfig attention_config(*attention);
  const HfConfig perceptron_config(*perceptron);
  layer.attention.kv_heads = attention_config.integer({"kv_n_heads"}).value_or(1);
  layer.experts = Experts{.count = perceptron_config.required({"moe_num_experts"}),
                          .active = perceptron_config.required({"moe_top_k"}),
                          .expert = {.width = perceptron_config.required({"ffn_hidden_size"})}};
  layer.other_parameters = 2 * model.hidden + layer.experts->count * model.hidden;  // norms and router
  perceptron_config.ignore(
      {"ffn_act_fn", "moe_jitter_eps", "moe_normalize_expert_weights", "hidden_size", "uniform_expert_assignment"});
  config.ignore({"max_seq_len", "num_key_value_heads"});
  attention_config.expect_all_known();
  perceptron_config.expect_all_known();
  model.layers = {layer};
  config.expect_all_known();
  return model;
}

}  // namespace opweave::io
