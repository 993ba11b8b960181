/// What a decoder or encoder of transformers has beside its matrices, by `model_type`.
#pragma once

#include <cstdint>
#include <map>
#include <string_view>

namespace opweave::io {

/// A part that a key turns on, or that is always or never there.
struct Switch {
  bool otherwise = false;     ///< without the key
  std::string_view key = {};  ///< empty = always as `otherwise`
};
inline constexpr Switch kAlways{true};
inline constexpr Switch kNever{false};

/// How many layers look back over a window, and which.
enum class AttentionWindowRule : std::uint8_t {
  kNone,         ///< full attention
  kAll,          ///< `sliding_window` in all layers
  kAllIfUsed,    ///< the same where `use_sliding_window`
  kPattern,      ///< all layers but every `window_pattern`-th
  kLast,         ///< from layer `max_window_layers` on, where `use_sliding_window`
  kFirstAndOdd,  ///< layers 0, 2, 4, ... before `max_window_layers`, where `use_sliding_window`
  kLastAlways,   ///< as kLast, whatever `use_sliding_window`
  kChunks,       ///< chunks of `attention_chunk_size`, all layers but every `no_rope_layer_interval`-th
  kListed,       ///< where `layer_types` says so
};

enum class QkNorm : std::uint8_t { kNone, kPerHead, kWhole };

/// Which layers have experts, and under which names their sizes stand.
enum class ExpertRule : std::uint8_t {
  kNone,
  kAll,
  kSparseStep,   ///< every `decoder_sparse_step`-th but `mlp_only_layers`
  kAfterFirst,   ///< after the first `first_k_dense_replace`
  kInterval,     ///< every `moe_layer_interval`-th between two
  kInterleaved,  ///< every `interleave_moe_layer_step`-th
};

struct Habits {
  bool is_gated = true;
  bool ties_by_default = false;
  bool is_causal = true;
  int norms = 2;  ///< of hidden width per layer
  Switch norm_bias = kNever;
  bool has_last_norm = true;
  Switch qkv_bias = kNever;
  Switch out_bias = kNever;
  Switch mlp_bias = kNever;
  Switch head_bias = kNever;
  QkNorm qk_norm = QkNorm::kNone;
  Switch has_qk_norm = kAlways;
  bool qk_norm_has_bias = false;
  bool has_latents = false;    ///< attention through latents
  bool out_is_square = false;  ///< the output of attention has hidden width whatever the heads
  std::int64_t head_dim = 0;   ///< without the key; 0 = hidden / heads
  std::int64_t kv_heads = 0;   ///< without the key; 0 = heads
  bool reads_head_dim = true;
  bool reads_kv_heads = true;
  AttentionWindowRule window = AttentionWindowRule::kNone;
  std::int64_t window_pattern = 0;
  ExpertRule experts = ExpertRule::kNone;
  bool experts_have_bias = false;    ///< router and experts
  std::int64_t width_factor = 0;     ///< perceptron width / hidden without a key for it; 0 = the key is required
  bool has_positions = false;        ///< learned
  std::int64_t extra_positions = 0;  ///< rows of their table beyond the positions
  bool has_embedding_norm = false;
  bool has_token_types = false;
  bool transforms_head = false;   ///< a square matrix and a norm before the head (BERT)
  std::int64_t layer_extras = 0;  ///< single parameters of a layer
};

/// Ordered by name.
[[nodiscard]] const std::map<std::string_view, Habits>& known_habits();

}  // namespace opweave::io
