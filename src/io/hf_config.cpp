#include "io/hf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "io/message.h"

namespace opweave::io {
namespace {

/// What every configuration may have and no parameter depends on: names, tokens, output, initial values, positions
/// without weights, how routing is scored, numbers formats of a checkpoint.
constexpr auto kWithoutEffect = std::to_array<std::string_view>({
    "activation",
    "architectures",
    "attention_multiplier",
    "attn_implementation",
    "attn_scale",
    "attn_temperature_tuning",
    "auto_map",
    "aux_loss_alpha",
    "cache_implementation",
    "prefix",
    "begin_suppress_tokens",
    "block_size",
    "chunk_size_feed_forward",
    "clip_qkv",
    "dtype",
    "embedding_multiplier",
    "ep_size",
    "final_logit_softcapping",
    "floor_scale",
    "gradient_checkpointing",
    "hidden_act",
    "hidden_activation",
    "id2label",
    "initial_context_length",
    "initializer_factor",
    "input_jitter_noise",
    "is_composition",
    "label2id",
    "logit_scale",
    "logits_scaling",
    "max_length",
    "model_max_length",
    "mscale",
    "n_ctx",
    "n_group",
    "norm_topk_prob",
    "num_labels",
    "original_max_position_embeddings",
    "partial_rotary_factor",
    "pretraining_tp",
    "problem_type",
    "quantization_config",
    "query_pre_attn_scalar",
    "residual_multiplier",
    "return_dict",
    "rotary_dim",
    "rotary_emb_base",
    "rotary_pct",
    "routed_scaling_factor",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "scale_attn_weights",
    "scale_embedding",
    "scoring_func",
    "seq_aux",
    "seq_length",
    "summary_type",
    "suppress_tokens",
    "swiglu_alpha",
    "swiglu_limit",
    "task_specific_params",
    "finetuning_task",
    "neftune_noise_alpha",
    "use_flash_attn",
    "temperature_tuning",
    "tokenizer_class",
    "topk_group",
    "topk_method",
    "torch_dtype",
    "tokenizer_model_max_length",
    "transformers.js_config",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
    "model_type",
    "attn_logit_softcapping",
    "default_theta",
});
/// A second name of a key, which transformers does not read: harmless where it says the same.
constexpr auto kSecondNames = std::to_array<std::pair<std::string_view, std::string_view>>({
    {"sliding_window_size", "sliding_window"},
});
constexpr auto kPrefixesWithoutEffect = std::to_array<std::string_view>({"_", "rope_", "output_", "summary_"});
constexpr auto kSuffixesWithoutEffect = std::to_array<std::string_view>(
    {"_token_id", "_token_index", "_eps", "_epsilon", "_dropout", "dropout", "_pdrop", "_dropout_prob", "_dropout_rate",
     "dropout_rate", "_std", "initializer_range", "_act", "layerdrop", "_loss_weight", "activation_function"});

bool says_nothing(std::string_view key) {
  return std::ranges::find(kWithoutEffect, key) != kWithoutEffect.end() ||
         std::ranges::any_of(kPrefixesWithoutEffect, [&](std::string_view part) { return key.starts_with(part); }) ||
         std::ranges::any_of(kSuffixesWithoutEffect, [&](std::string_view part) { return key.ends_with(part); });
}

/// Does the value only repeat that of the key's usual name?
bool repeats(const JsonValue& root, std::string_view key, const JsonValue::Element& element) {
  const auto second = std::ranges::find(kSecondNames, key, &std::pair<std::string_view, std::string_view>::first);
  std::int64_t value = 0;
  std::int64_t usual = 0;
  return second != kSecondNames.end() && element.get(value) == simdjson::SUCCESS &&
         root.object().at_key(second->second).get(usual) == simdjson::SUCCESS && value == usual;
}

bool is_off(const JsonValue::Element& element) {
  bool value = true;
  if (element.is_null()) return true;
  if (element.is_array()) return simdjson::dom::array(element).size() == 0;
  if (element.is_object()) return simdjson::dom::object(element).size() == 0;
  return element.get(value) == simdjson::SUCCESS && !value;
}

}  // namespace

HfConfig::HfConfig(const JsonValue& root, UsualSizes usual) : root_(root), usual_(usual) {
  std::set<std::string_view> seen;
  for (const auto& [key, element] : root.object()) {
    if (!seen.insert(key).second) root.fail_repeated_key(key);
  }
}

std::optional<JsonValue> HfConfig::find(std::string_view key) const {
  simdjson::dom::element element;
  if (root_.object().at_key(key).get(element) != simdjson::SUCCESS) return std::nullopt;
  read_.emplace(key);
  if (element.is_null()) return std::nullopt;
  return JsonValue(root_, key, element);
}

std::optional<std::int64_t> HfConfig::integer(std::initializer_list<std::string_view> keys) const {
  std::optional<std::int64_t> first;
  for (const std::string_view key : keys) {
    const auto value = find(key);
    if (!value) continue;
    const std::int64_t number = value->integer(0, 1'000'000'000);
    if (first && *first != number) value->reject(fmt::format("{} as under its other name", *first));
    if (!first) first = number;
  }
  return first;
}

std::int64_t HfConfig::required(std::initializer_list<std::string_view> keys) const {
  if (const auto value = integer(keys)) return *value;
  for (const auto& [key, size] : usual_) {
    if (std::ranges::find(keys, key) != keys.end()) return size;
  }
  root_.fail_missing_key(*keys.begin());
}

std::optional<std::int64_t> HfConfig::signed_integer(std::string_view key) const {
  const auto value = find(key);
  if (!value) return std::nullopt;
  return value->integer(-1'000'000'000, 1'000'000'000);
}

std::optional<double> HfConfig::number(std::string_view key) const {
  const auto value = find(key);
  return value ? std::optional(value->number()) : std::nullopt;
}

bool HfConfig::truth(std::string_view key, bool otherwise) const {
  const auto value = find(key);
  return value ? value->boolean() : otherwise;
}

std::string HfConfig::text(std::string_view key) const {
  const auto value = find(key);
  return value ? std::string(value->text()) : std::string();
}

std::optional<std::vector<std::string>> HfConfig::texts(std::string_view key) const {
  const auto value = find(key);
  if (!value) return std::nullopt;
  std::vector<std::string> list;
  value->each([&](const JsonValue& item) { list.emplace_back(item.text()); });
  return list;
}

std::optional<std::vector<std::int64_t>> HfConfig::integers(std::string_view key) const {
  const auto value = find(key);
  if (!value) return std::nullopt;
  std::vector<std::int64_t> list;
  value->each([&](const JsonValue& item) { list.push_back(item.integer(0, 1'000'000'000)); });
  return list;
}

std::optional<JsonValue> HfConfig::object(std::string_view key) const {
  const auto value = find(key);
  if (value && !value->is_object()) value->reject("an object");
  return value;
}

void HfConfig::ignore(std::initializer_list<std::string_view> keys) const { read_.insert(keys.begin(), keys.end()); }

void HfConfig::expect_all_known() const {
  for (const auto& [key, element] : root_.object()) {
    if (read_.contains(key) || says_nothing(key) || is_off(element) || repeats(root_, key, element)) continue;
    root_.fail(fmt::format("key {} is not known for this model_type, so its parameters cannot be counted",
                           text_in_quotes(key)),
               "remove it if it says nothing about sizes");
  }
}

void HfConfig::reject(std::string_view key, std::string_view expected) const {
  const auto value = find(key);
  if (!value) root_.fail_missing_key(key);
  value->reject(expected);
}

}  // namespace opweave::io
