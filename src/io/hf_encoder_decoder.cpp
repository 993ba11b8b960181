// Models of two chains, the second attending to the first, and vision transformers.
#include <algorithm>

#include "io/hf_models.h"

namespace opweave::io {
namespace {

/// Sizes of one chain of an encoder-decoder.
struct Chain {
  std::int64_t layers;
  std::int64_t heads;
  std::int64_t head_dim;
  std::int64_t width;
};

Attention attention_of(const Chain& chain, bool is_causal) {
  Attention attention;
  attention.heads = attention.kv_heads = chain.heads;
  attention.head_dim = chain.head_dim;
  attention.is_causal = is_causal;
  return attention;
}

/// `extras`: norms and biases of an encoder layer; of the decoder's, with attention to the encoder, by `cross_extras`
/// more.
void add_chains(ModelDescription& model, const Chain& encoder, const Chain& decoder, Mlp mlp, std::int64_t extras,
                std::int64_t cross_extras) {
  LayerRun layer;
  layer.count = encoder.layers;
  layer.component = 0;
  layer.attention = attention_of(encoder, false);
  layer.mlp = mlp;
  layer.mlp.width = encoder.width;
  layer.other_parameters = extras;
  model.layers.push_back(layer);
  layer.count = decoder.layers;
  layer.component = std::nullopt;
  layer.attention = attention_of(decoder, true);
  layer.cross = CrossAttention{attention_of(decoder, false), 0};
  layer.mlp.width = decoder.width;
  layer.other_parameters = extras + cross_extras;
  model.layers.push_back(layer);
}

void expect_generation_head(const HfConfig& config) {
  const auto architectures = config.texts("architectures");
  if (!architectures || architectures->empty()) return;
  if (!architectures->front().ends_with("ForConditionalGeneration")) {
    config.reject("architectures", "a model that generates text (...ForConditionalGeneration)");
  }
}

Chain read_chain(const HfConfig& config, std::string_view layers, std::string_view heads, std::string_view width,
                 std::int64_t hidden) {
  Chain chain{config.required({layers}), config.required({heads}), 0, config.required({width})};
  chain.head_dim = hidden / std::max<std::int64_t>(1, chain.heads);
  if (chain.head_dim * chain.heads != hidden) config.reject(heads, "a divisor of d_model");
  return chain;
}

/// Two chains whose norms and matrices all have biases, except that `biases_of_keys` may be missing.
void add_biased_chains(ModelDescription& model, const HfConfig& config, bool has_key_bias) {
  const std::int64_t hidden = model.hidden;
  const Chain encoder = read_chain(config, "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", hidden);
  const Chain decoder = read_chain(config, "decoder_layers", "decoder_attention_heads", "decoder_ffn_dim", hidden);
  const std::int64_t attention = hidden * (has_key_bias ? 4 : 3) + 2 * hidden;  // biases and a norm
  const std::int64_t perceptron = hidden + 2 * hidden;                          // second bias and a norm
  add_chains(model, encoder, decoder, {.is_gated = false}, attention + perceptron, attention);
  model.layers.front().other_parameters += encoder.width;
  model.layers.back().other_parameters += decoder.width;
}

}  // namespace

ModelDescription read_hf_t5(const HfConfig& config) {
  expect_generation_head(config);
  ModelDescription model;
  model.name = "t5";
  model.hidden = config.required({"d_model"});
  model.vocabulary = config.required({"vocab_size"});
  // transformers ties them whatever the configuration says.
  model.has_tied_embeddings = true;
  config.ignore({"tie_word_embeddings", "dense_act_fn", "relative_attention_max_distance", "scale_decoder_outputs",
                 "n_positions", "is_encoder_decoder"});
  const Chain encoder{config.required({"num_layers"}), config.required({"num_heads"}), config.required({"d_kv"}),
                      config.required({"d_ff"})};
  Chain decoder = encoder;
  decoder.layers = config.integer({"num_decoder_layers"}).value_or(encoder.layers);
  const std::string kind = config.text("feed_forward_proj");
  const bool is_gated = config.truth("is_gated_act", kind.starts_with("gated-"));
  if (!kind.empty() && kind.starts_with("gated-") != is_gated)
    config.reject("is_gated_act", "what feed_forward_proj says");
  // Each chain has a norm at its end and one table of relative positions.
  const std::int64_t outside =
      model.hidden + config.integer({"relative_attention_num_buckets"}).value_or(32) * encoder.heads;
  model.other_parameters = outside;
  model.components = {{.name = "encoder", .hidden = model.hidden, .tokens = {}, .other_parameters = outside}};
  add_chains(model, encoder, decoder, {.is_gated = is_gated}, 2 * model.hidden, model.hidden);
  config.expect_all_known();
  return model;
}

ModelDescription read_hf_bart(const HfConfig& config) {
  expect_generation_head(config);
  ModelDescription model;
  model.name = "bart";
  model.hidden = config.required({"d_model"});
  model.vocabulary = config.required({"vocab_size"});
  model.has_tied_embeddings = config.truth("tie_word_embeddings", true);
  config.ignore({"is_encoder_decoder", "forced_eos_token_id", "decoder_start_token_id", "num_hidden_layers",
                 "num_attention_heads", "hidden_size", "normalize_before", "normalize_embedding",
                 "add_final_layer_norm", "add_bias_logits", "no_repeat_ngram_size", "num_beams", "early_stopping",
                 "min_length", "length_penalty", "classif_dropout"});
  if (!model.has_tied_embeddings) config.reject("tie_word_embeddings", "true");
  // Two rows of positions are reserved; a norm follows the embeddings.
  const std::int64_t outside = (config.required({"max_position_embeddings"}) + 2) * model.hidden + 2 * model.hidden;
  model.other_parameters = outside;
  model.components = {{.name = "encoder", .hidden = model.hidden, .tokens = {}, .other_parameters = outside}};
  add_biased_chains(model, config, true);
  config.expect_all_known();
  return model;
}

ModelDescription read_hf_whisper(const HfConfig& config) {
  expect_generation_head(config);
  ModelDescription model;
  model.name = "whisper";
  model.hidden = config.required({"d_model"});
  model.vocabulary = config.required({"vocab_size"});
  model.has_tied_embeddings = config.truth("tie_word_embeddings", true);
  config.ignore({"is_encoder_decoder", "classifier_proj_size", "apply_spec_augment", "mask_time_prob",
                 "mask_time_length", "mask_time_min_masks", "mask_feature_prob", "mask_feature_length",
                 "mask_feature_min_masks", "median_filter_width", "use_weighted_layer_sum", "decoder_start_token_id",
                 "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_size", "alignment_heads",
                 "forced_decoder_ids", "max_length"});
  const std::int64_t hidden = model.hidden;
  const std::int64_t frames = config.required({"max_source_positions"});
  model.other_parameters = config.required({"max_target_positions"}) * hidden + 2 * hidden;
  // Two convolutions of three frames, positions, a norm.
  const std::int64_t outside = 3 * config.required({"num_mel_bins"}) * hidden + hidden + 3 * hidden * hidden + hidden +
                               frames * hidden + 2 * hidden;
  model.components = {{.name = "encoder", .hidden = hidden, .tokens = frames, .other_parameters = outside}};
  add_biased_chains(model, config, false);
  config.expect_all_known();
  return model;
}

ModelDescription read_hf_vit(const HfConfig& config) {
  const auto architectures = config.texts("architectures");
  const bool is_bare = architectures && !architectures->empty() && architectures->front() == "ViTModel";
  if (architectures && !architectures->empty() && !is_bare && architectures->front() != "ViTForImageClassification") {
    config.reject("architectures", "ViTForImageClassification or ViTModel");
  }
  ModelDescription model;
  model.name = "vit";
  model.hidden = config.required({"hidden_size"});
  const std::int64_t hidden = model.hidden;
  const std::int64_t patch = config.required({"patch_size"});
  const std::int64_t side = config.required({"image_size"}) / std::max<std::int64_t>(1, patch);
  const std::int64_t channels = config.integer({"num_channels"}).value_or(3);
  // A token for the class, positions, patches with a bias, the last norm.
  model.other_parameters =
      hidden + (side * side + 1) * hidden + channels * patch * patch * hidden + hidden + 2 * hidden;
  const auto labels = config.object("id2label");
  const auto classes =
      labels ? static_cast<std::int64_t>(labels->object().size()) : config.integer({"num_labels"}).value_or(2);
  const std::int64_t pooler = config.integer({"pooler_output_size"}).value_or(hidden);
  model.other_parameters += is_bare ? (hidden + 1) * pooler : (hidden + 1) * classes;
  config.ignore({"encoder_stride", "pooler_act"});
  LayerRun layer;
  layer.count = config.required({"num_hidden_layers"});
  layer.attention.heads = layer.attention.kv_heads = config.required({"num_attention_heads"});
  layer.attention.head_dim = hidden / std::max<std::int64_t>(1, layer.attention.heads);
  layer.attention.is_causal = false;
  layer.mlp = {.width = config.required({"intermediate_size"}), .is_gated = false};
  layer.other_parameters = 4 * hidden + hidden + layer.mlp.width + hidden;  // norms, biases
  if (config.truth("qkv_bias", true)) layer.other_parameters += 3 * hidden;
  model.layers = {layer};
  config.expect_all_known();
  return model;
}

}  // namespace opweave::io
