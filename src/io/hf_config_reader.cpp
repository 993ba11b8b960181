// config.json of Hugging Face transformers: names of sizes differ by architecture, and what each has beside its
// matrices.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>

#include "io/json_reader.h"
#include "io/message.h"
#include "opweave/error.h"
#include "opweave/model.h"

namespace opweave {
namespace {

using io::JsonValue;

/// Members of a config, each read when it is asked for.
class Config {
 public:
  explicit Config(const JsonValue& root) : root_(root) {}

  /// The first of the keys that is there and not null.
  [[nodiscard]] std::optional<std::int64_t> integer(std::initializer_list<std::string_view> keys) const {
    for (const std::string_view key : keys) {
      simdjson::dom::element element;
      if (root_.object().at_key(key).get(element) != simdjson::SUCCESS || element.is_null()) continue;
      return JsonValue(root_, key, element).integer(0, 1'000'000'000);
    }
    return std::nullopt;
  }
  [[nodiscard]] std::int64_t required(std::initializer_list<std::string_view> keys) const {
    const auto value = integer(keys);
    if (!value) root_.fail_missing_key(*keys.begin());
    return *value;
  }
  [[nodiscard]] bool truth(std::string_view key, bool otherwise) const {
    simdjson::dom::element element;
    if (root_.object().at_key(key).get(element) != simdjson::SUCCESS || element.is_null()) return otherwise;
    return JsonValue(root_, key, element).boolean();
  }
  [[nodiscard]] std::string text(std::string_view key) const {
    simdjson::dom::element element;
    if (root_.object().at_key(key).get(element) != simdjson::SUCCESS || element.is_null()) return {};
    return std::string(JsonValue(root_, key, element).text());
  }
  [[nodiscard]] const JsonValue& root() const { return root_; }

 private:
  const JsonValue& root_;
};

/// What an architecture has beside matrices, and its defaults.
struct Habits {
  bool is_gated = true;
  bool ties_by_default = false;
  int norms = 2;  ///< of hidden width per layer
  bool norms_have_bias = false;
  bool qkv_bias = false;
  bool out_bias = false;
  bool mlp_bias = false;
  enum class QkNorm : std::uint8_t { kNone, kPerHead, kWhole } qk_norm = QkNorm::kNone;
  bool has_positions = false;  ///< learned
};

const std::map<std::string, Habits, std::less<>>& known_habits() {
  using Qk = Habits::QkNorm;
  static const std::map<std::string, Habits, std::less<>> known = {
      {"llama", {}},
      {"mistral", {}},
      {"mixtral", {}},
      {"qwen2", {.qkv_bias = true}},
      {"qwen3", {.qk_norm = Qk::kPerHead}},
      {"qwen2_moe", {.qkv_bias = true}},
      {"qwen3_moe", {.qk_norm = Qk::kPerHead}},
      {"deepseek_v3", {}},
      {"phi3", {}},
      {"granite", {}},
      {"gemma", {.ties_by_default = true}},
      {"gemma2", {.ties_by_default = true, .norms = 4}},
      {"olmo", {.norms = 0}},
      {"olmo2", {.qk_norm = Qk::kWhole}},
      {"cohere", {.ties_by_default = true, .norms = 1}},
      {"starcoder2",
       {.is_gated = false,
        .ties_by_default = true,
        .norms_have_bias = true,
        .qkv_bias = true,
        .out_bias = true,
        .mlp_bias = true}},
      {"gpt2",
       {.is_gated = false,
        .ties_by_default = true,
        .norms_have_bias = true,
        .qkv_bias = true,
        .out_bias = true,
        .mlp_bias = true,
        .has_positions = true}},
      {"gpt_neox", {.is_gated = false, .norms_have_bias = true, .qkv_bias = true, .out_bias = true, .mlp_bias = true}},
  };
  return known;
}

Attention read_attention(const Config& config, std::int64_t hidden, const std::string& type) {
  Attention attention;
  attention.heads = config.required({"num_attention_heads", "n_head"});
  attention.kv_heads = config.integer({"num_key_value_heads"}).value_or(attention.heads);
  attention.head_dim = config.integer({"head_dim"}).value_or(hidden / std::max<std::int64_t>(1, attention.heads));
  if (type == "deepseek_v3") {
    attention.head_dim = config.required({"qk_nope_head_dim"});
    attention.kv_heads = attention.heads;
    attention.latent = LatentAttention{config.integer({"q_lora_rank"}).value_or(0), config.required({"kv_lora_rank"}),
                                       config.required({"qk_rope_head_dim"}), config.required({"v_head_dim"})};
  }
  const bool uses_window = type != "qwen2" && type != "qwen3" && type != "qwen2_moe" && type != "qwen3_moe"
                               ? true
                               : config.truth("use_sliding_window", false);
  // Gemma 2 has a window on every other layer alone: all of them are taken for full ones.
  if (const auto window = config.integer({"sliding_window"}); window && uses_window && type != "gemma2") {
    attention.window = window;
  }
  return attention;
}

/// Norms and biases of a layer without its perceptron.
std::int64_t small_parameters(const Habits& habits, const Attention& attention, std::int64_t hidden) {
  std::int64_t sum = habits.norms * hidden * (habits.norms_have_bias ? 2 : 1);
  const std::int64_t queries = attention.heads * attention.head_dim;
  const std::int64_t keys = attention.kv_heads * attention.head_dim;
  if (habits.qkv_bias) sum += queries + 2 * keys;
  if (habits.out_bias) sum += hidden;
  if (habits.qk_norm == Habits::QkNorm::kPerHead) sum += 2 * attention.head_dim;
  if (habits.qk_norm == Habits::QkNorm::kWhole) sum += queries + keys;
  if (attention.latent) sum += attention.latent->query_rank + attention.latent->key_value_rank;
  return sum;
}

/// Experts with their router; nothing for a dense model.
std::optional<Experts> read_experts(const Config& config, const std::string& type) {
  if (type != "mixtral" && type != "qwen2_moe" && type != "qwen3_moe" && type != "deepseek_v3") return std::nullopt;
  Experts experts;
  experts.count = config.required({"num_local_experts", "num_experts", "n_routed_experts"});
  experts.active = config.required({"num_experts_per_tok"});
  experts.expert.width = config.required({"moe_intermediate_size", "intermediate_size"});
  if (type == "qwen2_moe") experts.shared_width = config.required({"shared_expert_intermediate_size"});
  if (type == "deepseek_v3") {
    experts.shared_width = config.integer({"n_shared_experts"}).value_or(0) * experts.expert.width;
  }
  return experts;
}

}  // namespace

ModelDescription parse_hf_config(std::string_view json, const std::string& source) {
  const io::JsonDocument document(json, source);
  const JsonValue root = document.root();
  const Config config(root);
  const std::string type = config.text("model_type");
  if (type.empty()) root.fail("key \"model_type\" is missing, expected a config.json of Hugging Face transformers");
  const auto known = known_habits().find(type);
  if (known == known_habits().end()) {
    std::string names;
    for (const auto& [name, habits] : known_habits()) names += (names.empty() ? "" : ", ") + name;
    root.fail(fmt::format("model_type {} is not known yet, expected one of {}", io::quoted(type), names),
              "write the model's layers by hand (opweave.model, docs/formats.md)");
  }
  Habits habits = known->second;
  if (config.truth("attention_bias", false)) habits.qkv_bias = habits.out_bias = true;
  if (config.truth("mlp_bias", false)) habits.mlp_bias = true;
  if (type == "cohere" && config.truth("use_qk_norm", false)) root.fail("use_qk_norm is true, which is not known yet");
  if (type == "qwen2_moe" || type == "qwen3_moe") {
    if (config.integer({"decoder_sparse_step"}).value_or(1) != 1) root.fail("decoder_sparse_step is not 1, expected 1");
  }

  ModelDescription model;
  model.name = type;
  model.hidden = config.required({"hidden_size", "n_embd"});
  model.vocabulary = config.required({"vocab_size"});
  model.has_tied_embeddings = config.truth("tie_word_embeddings", habits.ties_by_default);
  const std::int64_t layers = config.required({"num_hidden_layers", "n_layer"});
  const std::int64_t norm = model.hidden * (habits.norms_have_bias ? 2 : 1);
  model.other_parameters = habits.norms == 0 ? 0 : norm;
  if (habits.has_positions) {
    model.other_parameters += config.required({"n_positions", "max_position_embeddings"}) * model.hidden;
  }

  LayerRun dense;
  dense.count = layers;
  dense.attention = read_attention(config, model.hidden, type);
  dense.other_parameters = small_parameters(habits, dense.attention, model.hidden);
  const std::int64_t small = dense.other_parameters;
  dense.mlp.is_gated = habits.is_gated;
  const auto experts = read_experts(config, type);
  if (!experts || type == "deepseek_v3") {
    dense.mlp.width = config.integer({"intermediate_size", "n_inner"}).value_or(4 * model.hidden);
    if (habits.mlp_bias) dense.other_parameters += dense.mlp.inner() * dense.mlp.width + model.hidden;
  }
  if (!experts) {
    model.layers = {dense};
  } else {
    LayerRun sparse = dense;
    sparse.mlp = {};
    sparse.experts = experts;
    sparse.other_parameters = small + experts->count * model.hidden;
    if (type == "qwen2_moe") sparse.other_parameters += model.hidden;  // gate of the shared expert
    dense.count = type == "deepseek_v3" ? std::min(layers, config.integer({"first_k_dense_replace"}).value_or(0)) : 0;
    sparse.count = layers - dense.count;
    if (dense.count > 0) model.layers.push_back(dense);
    if (sparse.count > 0) model.layers.push_back(sparse);
  }
  try {
    validate(model);
  } catch (const InputError& error) {
    root.fail(error.what(), error.hint());
  }
  return model;
}

}  // namespace opweave
