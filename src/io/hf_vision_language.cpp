// Language models with a vision tower: nested "text_config" and "vision_config".
#include <fmt/format.h>

#include <algorithm>

#include "io/hf_models.h"
#include "io/message.h"

namespace opweave::io {
namespace {

JsonValue nested(const HfConfig& config, std::string_view key) {
  auto value = config.object(key);
  if (!value) config.fail(fmt::format("key {} is missing, expected a nested configuration", text_in_quotes(key)));
  return *value;
}

/// Sizes of a tower of equal layers with biases and two norms each.
struct Tower {
  std::int64_t hidden;
  std::int64_t layers;
  std::int64_t heads;
  std::int64_t width;
};

LayerRun tower_layer(const HfConfig& config, const Tower& tower) {
  if (tower.heads == 0 || tower.hidden % tower.heads != 0)
    config.fail("the heads of the tower do not divide its width");
  LayerRun layer;
  layer.count = tower.layers;
  layer.component = 0;
  layer.attention.heads = layer.attention.kv_heads = tower.heads;
  layer.attention.head_dim = tower.hidden / tower.heads;
  layer.attention.is_causal = false;
  layer.mlp = {.width = tower.width, .is_gated = false};
  layer.other_parameters = 4 * tower.hidden + 4 * tower.hidden + tower.width + tower.hidden;
  return layer;
}

Tower read_tower(const HfConfig& config) {
  return {config.required({"hidden_size"}), config.required({"num_hidden_layers"}),
          config.required({"num_attention_heads"}), config.required({"intermediate_size"})};
}

std::int64_t patches_of(const HfConfig& config) {
  const std::int64_t side =
      config.required({"image_size"}) / std::max<std::int64_t>(1, config.required({"patch_size"}));
  return side * side;
}

std::int64_t patch_weights(const HfConfig& config, std::int64_t hidden) {
  const std::int64_t patch = config.required({"patch_size"});
  return config.integer({"num_channels"}).value_or(3) * patch * patch * hidden;
}

void expect_vision_type(const HfConfig& config, std::string_view expected) {
  const std::string type = config.text("model_type");
  if (!type.empty() && type != expected) config.reject("model_type", text_in_quotes(expected));
}

/// What the classes of transformers take for a language model whose nested configuration leaves it out.
HfConfig::UsualSizes usual_sizes(std::string_view type) {
  using Size = std::pair<std::string_view, std::int64_t>;
  static constexpr Size kLlama[] = {{"hidden_size", 4096},
                                    {"intermediate_size", 11008},
                                    {"num_hidden_layers", 32},
                                    {"num_attention_heads", 32},
                                    {"vocab_size", 32000}};
  static constexpr Size kMistral[] = {{"hidden_size", 4096},
                                      {"intermediate_size", 14336},
                                      {"num_hidden_layers", 32},
                                      {"num_attention_heads", 32},
                                      {"vocab_size", 32000}};
  static constexpr Size kGemma3[] = {{"num_attention_heads", 8}, {"vocab_size", 262208}};
  if (type == "llama") return kLlama;
  if (type == "mistral") return kMistral;
  if (type == "gemma3_text") return kGemma3;
  return {};
}

/// The language model, with the tower's layers put in front. Whether the embeddings are tied is said outside.
ModelDescription read_text(const HfConfig& outer, std::string_view name, std::string_view type, bool ties) {
  const JsonValue text = nested(outer, "text_config");
  const HfConfig config(text, usual_sizes(type));
  if (known_habits().find(type) == known_habits().end()) {
    config.reject("model_type", "a language model that is known (docs/models.md)");
  }
  ModelDescription model = read_hf_language_model(config, type, {});
  model.name = name;
  model.has_tied_embeddings = outer.truth("tie_word_embeddings", ties);
  return model;
}

void put_tower(ModelDescription& model, const ModelComponent& tower, const LayerRun& layer) {
  model.components = {tower};
  model.layers.insert(model.layers.begin(), layer);
}

/// What a SigLIP tower pools its patches with: a probe, attention, a norm, a perceptron.
std::int64_t pooling_head(const Tower& tower) {
  const std::int64_t h = tower.hidden;
  return h + 4 * h * h + 4 * h + 2 * h + 2 * h * tower.width + tower.width + h;
}

struct SiglipTower {
  ModelComponent component;
  LayerRun layer;
};

SiglipTower read_siglip(const HfConfig& config) {
  expect_vision_type(config, "siglip_vision_model");
  const Tower tower = read_tower(config);
  const std::int64_t patches = patches_of(config);
  SiglipTower result{{.name = "vision", .hidden = tower.hidden, .tokens = patches}, tower_layer(config, tower)};
  std::int64_t& others = result.component.other_parameters;
  others = patch_weights(config, tower.hidden) + tower.hidden + patches * tower.hidden + 2 * tower.hidden;
  if (config.truth("vision_use_head", true)) others += pooling_head(tower);
  config.ignore({"projection_dim", "projection_size"});
  config.expect_all_known();
  return result;
}

SiglipTower read_clip(const HfConfig& config) {
  expect_vision_type(config, "clip_vision_model");
  const Tower tower = read_tower(config);
  const std::int64_t patches = patches_of(config);
  SiglipTower result{{.name = "vision", .hidden = tower.hidden, .tokens = patches + 1}, tower_layer(config, tower)};
  // A token for the class, patches without bias, positions, a norm before and one after.
  result.component.other_parameters =
      tower.hidden + patch_weights(config, tower.hidden) + (patches + 1) * tower.hidden + 4 * tower.hidden;
  config.ignore({"projection_dim", "vocab_size"});
  config.expect_all_known();
  return result;
}

std::string text_type(const HfConfig& outer, std::string_view otherwise) {
  const JsonValue text = nested(outer, "text_config");
  simdjson::dom::element type;
  if (text.object().at_key("model_type").get(type) != simdjson::SUCCESS) return std::string(otherwise);
  return std::string(JsonValue(text, "model_type", type).text());
}

}  // namespace

ModelDescription read_hf_llava(const HfConfig& config) {
  const std::string type = text_type(config, "llama");
  ModelDescription model = read_text(config, "llava", type, false);
  const JsonValue vision = nested(config, "vision_config");
  const HfConfig vision_config(vision);
  const bool is_siglip = vision_config.text("model_type") == "siglip_vision_model";
  SiglipTower tower = is_siglip ? read_siglip(vision_config) : read_clip(vision_config);
  config.ignore({"image_seq_length", "vision_feature_select_strategy", "vision_feature_layer"});
  const std::int64_t inner = tower.component.hidden;
  tower.component.other_parameters += inner * model.hidden + model.hidden * model.hidden;
  if (config.truth("multimodal_projector_bias", true)) tower.component.other_parameters += 2 * model.hidden;
  put_tower(model, tower.component, tower.layer);
  config.expect_all_known();
  return model;
}

ModelDescription read_hf_gemma3(const HfConfig& config) {
  ModelDescription model = read_text(config, "gemma3", "gemma3_text", true);
  const JsonValue vision = nested(config, "vision_config");
  const HfConfig vision_config(vision);
  SiglipTower tower = read_siglip(vision_config);
  config.ignore({"mm_tokens_per_image"});
  tower.component.other_parameters += tower.component.hidden * model.hidden + tower.component.hidden;
  put_tower(model, tower.component, tower.layer);
  config.expect_all_known();
  return model;
}

ModelDescription read_hf_qwen2_vl(const HfConfig& config) {
  ModelDescription model = read_text(config, "qwen2_vl", "qwen2_vl_text", false);
  const JsonValue vision = nested(config, "vision_config");
  const HfConfig tower_config(vision);
  Tower tower{tower_config.required({"embed_dim"}), tower_config.required({"depth"}),
              tower_config.required({"num_heads"}), 0};
  tower.width = tower_config.integer({"mlp_ratio"}).value_or(4) * tower.hidden;
  const std::int64_t patch = tower_config.required({"patch_size"});
  const std::int64_t merge = tower_config.integer({"spatial_merge_size"}).value_or(2);
  const std::int64_t merged = merge * merge * tower.hidden;
  const std::int64_t out = tower_config.required({"hidden_size"});
  ModelComponent component{.name = "vision", .hidden = tower.hidden, .tokens = {}};
  component.other_parameters = tower_config.integer({"in_channels", "in_chans"}).value_or(3) *
                                   tower_config.integer({"temporal_patch_size"}).value_or(2) * patch * patch *
                                   tower.hidden +
                               2 * tower.hidden + merged * merged + merged + merged * out + out;
  tower_config.ignore({"spatial_patch_size"});
  tower_config.expect_all_known();
  config.ignore({"image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"});
  put_tower(model, component, tower_layer(tower_config, tower));
  config.expect_all_known();
  return model;
}

ModelDescription read_hf_llama4(const HfConfig& config) {
  ModelDescription model = read_text(config, "llama4", "llama4_text", false);
  const JsonValue vision = nested(config, "vision_config");
  const HfConfig tower_config(vision);
  const Tower tower = read_tower(tower_config);
  const std::int64_t patches = patches_of(tower_config);
  const std::int64_t adapter = tower_config.required({"projector_input_dim"});
  const std::int64_t adapted = tower_config.required({"projector_output_dim"});
  // A token for the class, positions, patches, two norms, the adapter, the projector.
  ModelComponent component{.name = "vision", .hidden = tower.hidden, .tokens = patches + 1};
  component.other_parameters = tower.hidden + (patches + 1) * tower.hidden + patch_weights(tower_config, tower.hidden) +
                               4 * tower.hidden + tower.width * adapter + adapted * adapted +
                               tower_config.required({"vision_output_dim"}) * model.hidden;
  tower_config.ignore({"vision_feature_select_strategy", "vision_feature_layer", "pixel_shuffle_ratio"});
  if (tower_config.truth("multi_modal_projector_bias", false))
    tower_config.reject("multi_modal_projector_bias", "false");
  tower_config.expect_all_known();
  put_tower(model, component, tower_layer(tower_config, tower));
  config.expect_all_known();
  return model;
}

}  // namespace opweave::io
