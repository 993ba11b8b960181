#include "io/hf_habits.h"

namespace opweave::io {
namespace {

constexpr Switch kAttentionBias{false, "attention_bias"};
constexpr Switch kMlpBias{false, "mlp_bias"};
constexpr Switch kUseBias{false, "use_bias"};

/// Norms with bias, biases everywhere: GPT-2 and its heirs.
constexpr Habits with_all_biases(Habits habits) {
  habits.is_gated = false;
  habits.norm_bias = habits.qkv_bias = habits.out_bias = habits.mlp_bias = kAlways;
  return habits;
}

/// Llama and its heirs: `attention_bias` puts one on all four matrices of attention.
constexpr Habits with_attention_bias(Habits habits) {
  habits.qkv_bias = habits.out_bias = kAttentionBias;
  return habits;
}

/// BERT and its heirs: norms after the sum, none at the end, a head with a matrix of its own.
constexpr Habits as_bert(Habits habits) {
  habits = with_all_biases(habits);
  habits.ties_by_default = habits.has_positions = habits.has_embedding_norm = habits.transforms_head = true;
  habits.is_causal = habits.has_last_norm = habits.reads_kv_heads = habits.reads_head_dim = false;
  habits.head_bias = kAlways;
  return habits;
}

std::map<std::string_view, Habits> llama_like() {
  return {
      {"llama", with_attention_bias({.mlp_bias = kMlpBias})},
      {"mistral", {.kv_heads = 8, .window = AttentionWindowRule::kAll}},
      {"qwen2", {.qkv_bias = kAlways, .window = AttentionWindowRule::kLast}},
      {"qwen2_vl_text", {.qkv_bias = kAlways, .window = AttentionWindowRule::kLast}},
      {"qwen3",
       with_attention_bias({.qk_norm = QkNorm::kPerHead, .head_dim = 128, .window = AttentionWindowRule::kLast})},
      {"phi3", {.window = AttentionWindowRule::kAll}},
      {"granite", with_attention_bias({.mlp_bias = kMlpBias})},
      {"gemma", with_attention_bias({.ties_by_default = true, .head_dim = 256})},
      {"gemma2", with_attention_bias({.ties_by_default = true,
                                      .norms = 4,
                                      .head_dim = 256,
                                      .kv_heads = 4,
                                      .window = AttentionWindowRule::kPattern,
                                      .window_pattern = 2})},
      {"gemma3_text", with_attention_bias({.ties_by_default = true,
                                           .norms = 4,
                                           .qk_norm = QkNorm::kPerHead,
                                           .head_dim = 256,
                                           .kv_heads = 4,
                                           .window = AttentionWindowRule::kPattern,
                                           .window_pattern = 6})},
      {"olmo", with_attention_bias({.norms = 0, .has_last_norm = false})},
      {"olmo2", with_attention_bias({.qk_norm = QkNorm::kWhole})},
      {"olmo3",
       with_attention_bias({.qk_norm = QkNorm::kWhole, .window = AttentionWindowRule::kPattern, .window_pattern = 4})},
      {"cohere",
       with_attention_bias(
           {.ties_by_default = true, .norms = 1, .qk_norm = QkNorm::kWhole, .has_qk_norm = {false, "use_qk_norm"}})},
      {"cohere2",
       with_attention_bias(
           {.ties_by_default = true, .norms = 1, .window = AttentionWindowRule::kPattern, .window_pattern = 4})},
      {"glm", {.qkv_bias = kAttentionBias, .head_dim = 128, .kv_heads = 2}},
      {"glm4", {.norms = 4, .qkv_bias = kAttentionBias, .head_dim = 128, .kv_heads = 2}},
      {"helium", {.qkv_bias = kAttentionBias, .mlp_bias = kMlpBias, .out_is_square = true, .head_dim = 128}},
      {"smollm3",
       with_attention_bias(
           {.ties_by_default = true, .mlp_bias = kMlpBias, .kv_heads = 4, .window = AttentionWindowRule::kListed})},
      {"seed_oss",
       {.qkv_bias = {true, "attention_bias"},
        .out_bias = {false, "attention_out_bias"},
        .mlp_bias = kMlpBias,
        .head_dim = 128,
        .kv_heads = 8}},
      {"ernie4_5",
       {.ties_by_default = true,
        .qkv_bias = kUseBias,
        .out_bias = kUseBias,
        .mlp_bias = kUseBias,
        .head_dim = 128,
        .kv_heads = 2}},
      {"exaone4", {.qk_norm = QkNorm::kPerHead, .window = AttentionWindowRule::kPattern, .window_pattern = 4}},
      {"hunyuan_v1_dense", with_attention_bias({.qk_norm = QkNorm::kPerHead})},
      {"stablelm",
       {.norm_bias = kAlways,
        .qkv_bias = {false, "use_qkv_bias"},
        .qk_norm = QkNorm::kWhole,
        .has_qk_norm = {false, "qk_layernorm"}}},
      {"arcee", with_attention_bias({.is_gated = false, .mlp_bias = kMlpBias})},
      {"apertus", with_attention_bias({.is_gated = false, .qk_norm = QkNorm::kPerHead, .layer_extras = 2})},
      {"nemotron", with_attention_bias({.is_gated = false, .norm_bias = kAlways, .mlp_bias = kMlpBias})},
  };
}

std::map<std::string_view, Habits> mixtures() {
  return {
      {"mixtral", {.kv_heads = 8, .window = AttentionWindowRule::kAll, .experts = ExpertRule::kAll}},
      {"phimoe", with_attention_bias({.norm_bias = kAlways,
                                      .head_bias = {false, "lm_head_bias"},
                                      .kv_heads = 8,
                                      .window = AttentionWindowRule::kAll,
                                      .experts = ExpertRule::kAll})},
      {"qwen2_moe",
       {.qkv_bias = {true, "qkv_bias"},
        .window = AttentionWindowRule::kFirstAndOdd,
        .experts = ExpertRule::kSparseStep}},
      {"qwen3_moe", with_attention_bias({.qk_norm = QkNorm::kPerHead,
                                         .kv_heads = 4,
                                         .window = AttentionWindowRule::kAllIfUsed,
                                         .experts = ExpertRule::kSparseStep})},
      {"olmoe", with_attention_bias({.qk_norm = QkNorm::kWhole, .experts = ExpertRule::kAll})},
      {"granitemoe", with_attention_bias({.experts = ExpertRule::kAll})},
      {"minimax_m2", {.qk_norm = QkNorm::kWhole, .head_dim = 128, .kv_heads = 8, .experts = ExpertRule::kAll}},
      {"gpt_oss",
       {.qkv_bias = {true, "attention_bias"},
        .out_bias = {true, "attention_bias"},
        .head_dim = 64,
        .kv_heads = 8,
        .window = AttentionWindowRule::kPattern,
        .window_pattern = 2,
        .experts = ExpertRule::kAll,
        .experts_have_bias = true}},
      {"deepseek_v2",
       {.out_bias = kAttentionBias, .mlp_bias = kMlpBias, .has_latents = true, .experts = ExpertRule::kAfterFirst}},
      {"deepseek_v3", {.out_bias = kAttentionBias, .has_latents = true, .experts = ExpertRule::kAfterFirst}},
      {"glm4_moe",
       {.qkv_bias = kAttentionBias,
        .qk_norm = QkNorm::kPerHead,
        .has_qk_norm = {false, "use_qk_norm"},
        .kv_heads = 8,
        .experts = ExpertRule::kAfterFirst}},
      {"dots1", with_attention_bias({.qk_norm = QkNorm::kPerHead,
                                     .window = AttentionWindowRule::kLastAlways,
                                     .experts = ExpertRule::kAfterFirst})},
      {"ernie4_5_moe",
       {.ties_by_default = true,
        .qkv_bias = kUseBias,
        .out_bias = kUseBias,
        .mlp_bias = kUseBias,
        .head_bias = kUseBias,
        .kv_heads = 4,
        .experts = ExpertRule::kInterval}},
      {"llama4_text", with_attention_bias({.head_dim = 128,
                                           .kv_heads = 8,
                                           .window = AttentionWindowRule::kChunks,
                                           .experts = ExpertRule::kInterleaved})},
  };
}

std::map<std::string_view, Habits> gpt_like() {
  return {
      {"gpt2", with_all_biases({.ties_by_default = true,
                                .reads_head_dim = false,
                                .reads_kv_heads = false,
                                .width_factor = 4,
                                .has_positions = true})},
      {"gpt_bigcode", with_all_biases({.ties_by_default = true,
                                       .reads_head_dim = false,
                                       .reads_kv_heads = false,
                                       .width_factor = 4,
                                       .has_positions = true})},
      {"gpt_neo",
       {.is_gated = false,
        .ties_by_default = true,
        .norm_bias = kAlways,
        .out_bias = kAlways,
        .mlp_bias = kAlways,
        .reads_head_dim = false,
        .reads_kv_heads = false,
        .window = AttentionWindowRule::kListed,
        .width_factor = 4,
        .has_positions = true}},
      {"gptj",
       {.is_gated = false,
        .norms = 1,
        .norm_bias = kAlways,
        .mlp_bias = kAlways,
        .head_bias = kAlways,
        .reads_head_dim = false,
        .reads_kv_heads = false,
        .width_factor = 4}},
      {"codegen",
       {.is_gated = false,
        .norms = 1,
        .norm_bias = kAlways,
        .mlp_bias = kAlways,
        .head_bias = kAlways,
        .reads_head_dim = false,
        .reads_kv_heads = false,
        .width_factor = 4}},
      {"gpt_neox",
       {.is_gated = false,
        .norm_bias = kAlways,
        .qkv_bias = {true, "attention_bias"},
        .out_bias = {true, "attention_bias"},
        .mlp_bias = kAlways,
        .reads_head_dim = false,
        .reads_kv_heads = false}},
  };
}

std::map<std::string_view, Habits> other_decoders() {
  constexpr Switch kOptBias{true, "enable_bias"};
  return {
      {"opt",
       {.is_gated = false,
        .ties_by_default = true,
        .norm_bias = kAlways,
        .qkv_bias = kOptBias,
        .out_bias = kOptBias,
        .mlp_bias = kOptBias,
        .reads_head_dim = false,
        .reads_kv_heads = false,
        .has_positions = true,
        .extra_positions = 2}},
      {"bloom", with_all_biases({.ties_by_default = true,
                                 .reads_head_dim = false,
                                 .reads_kv_heads = false,
                                 .width_factor = 4,
                                 .has_embedding_norm = true})},
      {"falcon",
       {.is_gated = false,
        .ties_by_default = true,
        .norm_bias = kAlways,
        .qkv_bias = {false, "bias"},
        .out_bias = {false, "bias"},
        .mlp_bias = {false, "bias"},
        .reads_head_dim = false,
        .reads_kv_heads = false,
        .width_factor = 4}},
      {"mpt",
       {.is_gated = false,
        .ties_by_default = true,
        .reads_head_dim = false,
        .reads_kv_heads = false,
        .width_factor = 4}},
      {"phi", with_all_biases({.norms = 1,
                               .head_bias = kAlways,
                               .qk_norm = QkNorm::kPerHead,
                               .has_qk_norm = {false, "qk_layernorm"},
                               .qk_norm_has_bias = true,
                               .reads_head_dim = false})},
      {"persimmon", with_all_biases({.qk_norm = QkNorm::kPerHead,
                                     .has_qk_norm = {true, "qk_layernorm"},
                                     .qk_norm_has_bias = true,
                                     .reads_head_dim = false,
                                     .reads_kv_heads = false})},
      {"starcoder2",
       {.is_gated = false,
        .ties_by_default = true,
        .norm_bias = kAlways,
        .qkv_bias = {true, "use_bias"},
        .out_bias = {true, "use_bias"},
        .mlp_bias = {true, "use_bias"},
        .kv_heads = 2,
        .window = AttentionWindowRule::kAll}},
  };
}

std::map<std::string_view, Habits> encoders() {
  return {
      {"bert", as_bert({.has_token_types = true})},
      {"roberta", as_bert({.has_token_types = true})},
      {"xlm-roberta", as_bert({.has_token_types = true})},
      {"distilbert", as_bert({})},
  };
}

}  // namespace

const std::map<std::string_view, Habits>& known_habits() {
  static const std::map<std::string_view, Habits> known = [] {
    auto all = llama_like();
    all.merge(mixtures());
    all.merge(gpt_like());
    all.merge(other_decoders());
    all.merge(encoders());
    return all;
  }();
  return known;
}

}  // namespace opweave::io
