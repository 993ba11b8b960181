/// What a model is made of, as far as its training time and memory depend on it: a chain of transformer layers
/// between an embedding and a head, and components that feed it (a vision tower, an encoder).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace opweave {

/// Attention through low-rank latents (DeepSeek-V2, arXiv 2405.04434): queries and keys have a part without and a part
/// with positions, values a width of their own.
struct LatentAttention {
  std::int64_t query_rank = 0;  ///< 0 = queries are made from the hidden state at once
  std::int64_t key_value_rank = 0;
  std::int64_t position_dim = 0;  ///< part of a head of queries and keys that carries positions
  std::int64_t value_dim = 0;     ///< of a head
  bool operator==(const LatentAttention&) const = default;
};

/// Self-attention of one layer.
struct Attention {
  std::int64_t heads = 0;     ///< 0 = the layer has none
  std::int64_t kv_heads = 0;  ///< divides `heads`
  std::int64_t head_dim = 0;  ///< with `latent`: the part without positions
  std::optional<LatentAttention> latent;
  std::optional<std::int64_t> window;  ///< tokens that one looks back at; all without it
  bool is_causal = true;
  bool has_gate = false;  ///< results are scaled by a gate per column, made from the hidden state (Qwen3-Next)
  bool operator==(const Attention&) const = default;

  /// Width of a head of queries and keys, and of values.
  [[nodiscard]] std::int64_t query_key_dim() const;
  [[nodiscard]] std::int64_t value_dim() const;
};

/// How a state of fixed size takes in a token.
enum class StateUpdate : std::uint8_t {
  kDecay,  ///< it decays by head, then key x value is added: Mamba-2 (arXiv 2405.21060), linear attention
  kDelta,  ///< what the key already recalls is taken off first: gated delta nets (arXiv 2412.06464)
  kScan,   ///< it decays by column, so no matrix products: Mamba (arXiv 2312.00752)
  /// A mean of the values so far by column, weighted by keys, whose weights decay; tokens are mixed with those before
  /// them on their way in: RWKV-4 (arXiv 2305.13048). It has no queries.
  kAverage,
  /// There is none but the last tokens of a short convolution over the values, scaled by column before it (keys) and
  /// after it (gates): LFM2. It has no queries.
  kConvolve,
  /// By column it decays and takes in a value, by shares that are made from the values with two square matrices per
  /// head (RG-LRU of Griffin, arXiv 2402.19427): neither queries nor keys.
  kLru,
};

/// A mixer of tokens whose state has the same size however long the sequence is: a state space, or attention without a
/// softmax. In words of attention: a state space's C are queries, its B are keys, its x are values.
struct Recurrence {
  StateUpdate update = StateUpdate::kDecay;
  std::int64_t heads = 0;      ///< of values; each has a state of key_dim x value_dim
  std::int64_t key_heads = 0;  ///< of queries, and of keys ("groups" of a state space); divides `heads`
  std::int64_t key_dim = 0;    ///< of a head of queries and keys
  std::int64_t value_dim = 0;  ///< of a head
  std::int64_t decays = 0;     ///< numbers per head and token, made from the hidden state: decays, strengths of writing
  /// kScan: decays, queries and keys are made from the values, decays through this rank. kDelta: decays by column of
  /// the keys instead of by head, through this rank (Kimi, arXiv 2510.26692); 0 = by head.
  std::int64_t decay_rank = 0;
  std::int64_t gate_rank = 0;    ///< gates are made through this rank; 0 = from the hidden state at once
  std::int64_t convolution = 0;  ///< tokens that a convolution over queries, keys and values sees; 0 = none
  bool has_gate = false;         ///< results are scaled by a gate per column
  bool operator==(const Recurrence&) const = default;

  [[nodiscard]] std::int64_t values() const { return heads * value_dim; }     ///< columns
  [[nodiscard]] std::int64_t queries() const { return key_heads * key_dim; }  ///< columns, as many as of keys
  /// Columns of queries and keys together.
  [[nodiscard]] std::int64_t queries_and_keys() const {
    if (update == StateUpdate::kLru) return 0;
    const bool has_keys_alone = update == StateUpdate::kAverage || update == StateUpdate::kConvolve;
    return (has_keys_alone ? 1 : 2) * queries();
  }
};

/// Two-layer perceptron, or three matrices where gated.
struct Mlp {
  std::int64_t width = 0;
  bool is_gated = true;
  bool has_result_gate = false;  ///< results are scaled by a gate per column, made from the hidden state (RWKV)
  bool operator==(const Mlp&) const = default;

  /// Matrices that widen: 1, or 2 where gated.
  [[nodiscard]] std::int64_t inner() const { return is_gated ? 2 : 1; }
};

/// A mixture of experts: each token goes through `active` of `count` perceptrons and all of the shared one.
struct Experts {
  std::int64_t count = 0;
  std::int64_t active = 0;
  Mlp expert;
  std::int64_t shared_width = 0;  ///< of all shared experts together; 0 = none
  bool operator==(const Experts&) const = default;
};

/// What feeds the main chain: a branch with a width of its own, such as a vision tower or the encoder of an
/// encoder-decoder. Its layers stand in the model's list, before those that take from it.
struct ModelComponent {
  std::string name;
  std::int64_t hidden = 0;
  std::optional<std::int64_t> tokens;  ///< per sequence; as many as the sequence has without it
  std::int64_t other_parameters = 0;   ///< outside its layers: patches, positions, norms, a projector
  bool operator==(const ModelComponent&) const = default;
};

/// Attention of a decoder to what a component made: keys and values come from there.
struct CrossAttention {
  Attention attention;
  std::size_t from = 0;  ///< index in ModelDescription::components
  bool operator==(const CrossAttention&) const = default;
};

/// `count` equal layers in a row: a mixer of tokens (attention, a recurrence, or both beside each other), a perceptron
/// or experts, or one of these alone.
struct LayerRun {
  std::int64_t count = 1;
  std::optional<std::size_t> component;  ///< index in ModelDescription::components; the main chain without it
  Attention attention;
  std::optional<Recurrence> recurrence;
  std::optional<CrossAttention> cross;
  Mlp mlp;                            ///< without experts; width 0 = none
  std::optional<Experts> experts;     ///< instead of `mlp`
  std::int64_t other_parameters = 0;  ///< of one layer: norms, biases, a router
  /// A module that predicts the token after the next one (DeepSeek-V3, arXiv 2412.19437, section 2.2): beside the
  /// layer a projection of 2 x hidden to hidden with three norms, and the model's head once more.
  bool predicts_ahead = false;
  bool operator==(const LayerRun&) const = default;

  [[nodiscard]] bool has_mixer() const { return attention.heads > 0 || recurrence.has_value(); }
  [[nodiscard]] bool has_perceptron() const { return experts.has_value() || mlp.width > 0; }
  /// Parts with a norm before and a sum behind: 1 or 2.
  [[nodiscard]] int parts() const { return (has_mixer() ? 1 : 0) + (has_perceptron() ? 1 : 0); }
};

/// A decoder or encoder: embedding, layers, head.
struct ModelDescription {
  std::string name;
  std::int64_t hidden = 0;
  std::int64_t vocabulary = 0;       ///< 0 = neither embedding nor head (what a vision model has is `other_parameters`)
  bool has_tied_embeddings = false;  ///< the head is the embedding
  std::int64_t other_parameters = 0;  ///< outside the layers: last norm, learned positions
  std::vector<ModelComponent> components;
  std::vector<LayerRun> layers;
  bool operator==(const ModelDescription&) const = default;

  [[nodiscard]] std::int64_t layer_count() const;
  [[nodiscard]] bool has_recurrences() const;
  /// Width of the hidden state in a layer, and its tokens where the sequence has `sequence`.
  [[nodiscard]] std::int64_t hidden_in(const LayerRun& layer) const;
  [[nodiscard]] std::int64_t tokens_in(const LayerRun& layer, std::int64_t sequence) const;
};

/// Weights of the matrices of attention, of a recurrence and of one perceptron in layers of width `hidden`, of
/// attention to a component of width `source`, of one layer with all its experts, and those of its matrices that each
/// token meets.
[[nodiscard]] std::int64_t attention_parameters(std::int64_t hidden, const Attention& attention);
[[nodiscard]] std::int64_t recurrence_parameters(std::int64_t hidden, const Recurrence& recurrence);
[[nodiscard]] std::int64_t cross_attention_parameters(std::int64_t hidden, std::int64_t source, const Attention& cross);
[[nodiscard]] std::int64_t mlp_parameters(std::int64_t hidden, const Mlp& mlp);
[[nodiscard]] std::int64_t layer_parameters(const ModelDescription& model, const LayerRun& layer);
[[nodiscard]] std::int64_t active_parameters(const ModelDescription& model, const LayerRun& layer);
/// All parameters, as a framework counts them: tied ones once.
[[nodiscard]] std::int64_t parameters(const ModelDescription& model);

// "decay", "delta", "scan", "average", "convolve", "lru"; from_string: nothing for any other text.
[[nodiscard]] std::string_view to_string(StateUpdate update);
[[nodiscard]] std::optional<StateUpdate> state_update_from_string(std::string_view text);

/// \throws InputError naming the first field that no model can have: a size that is not positive, key-value heads that
///   do not divide the heads, more active experts than there are, a layer of nothing, no layers.
void validate(const ModelDescription& model);

/// `opweave.model` (docs/formats.md), and a `config.json` of Hugging Face transformers (docs/models.md), whose modules
/// that predict further ahead transformers leaves out and `with_prediction_modules` takes in. \throws InputError naming
/// place and value; for the second also an architecture or a field that is not known, by name.
[[nodiscard]] ModelDescription parse_model(std::string_view json, const std::string& source);
[[nodiscard]] ModelDescription parse_hf_config(std::string_view json, const std::string& source,
                                               bool with_prediction_modules = false);
/// Names of `model_type` that parse_hf_config knows, in order.
[[nodiscard]] std::vector<std::string> known_hf_models();
[[nodiscard]] std::string model_to_json(const ModelDescription& model);
/// 16 hexadecimal digits: equal models, equal hash; the same for any text.
[[nodiscard]] std::string content_hash(const ModelDescription& model);
[[nodiscard]] std::string text_hash(std::string_view text);

}  // namespace opweave
