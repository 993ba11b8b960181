#include "strategy/layer_memory.h"

#include "strategy/products.h"
#include "strategy/recurrences.h"

namespace opweave::strategy {
namespace {

/// Bytes per token of a layer on one rank, by what keeps them. Sums up to the 34 h of a GPT layer (arXiv 2205.05198,
/// equation 1, without the scores).
struct Kept {
  double inputs = 0;           ///< of its norms: the residual stream
  double attention_norm = 0;   ///< its result
  double latents = 0;          ///< and their norms
  double queries = 0;          ///< queries
  double keys = 0;             ///< keys
  double values = 0;           ///< values
  double scores = 0;           ///< where attention is not fused
  double attention = 0;        ///< its result
  double perceptron_norm = 0;  ///< its result
  double wide = 0;             ///< results of the products that widen, of the perceptron that all tokens go through
  double active = 0;           ///< of its activation function
  double routed = 0;           ///< tokens that came to experts
  double routed_wide = 0;
  double routed_active = 0;
  double routed_out = 0;  ///< results of experts
  double cross = 0;       ///< of attention to a component, and its norm
  double recurrence = 0;

  [[nodiscard]] double sum() const {
    return inputs + attention_norm + latents + queries + keys + values + scores + attention + perceptron_norm + wide +
           active + routed + routed_wide + routed_active + routed_out + cross + recurrence;
  }
};

void add_attention(const Setting& s, const LayerRun& layer, Kept& kept) {
  const Attention& attention = layer.attention;
  const auto hidden = static_cast<double>(s.model.hidden);
  const double tensor = s.strategy.tensor;
  const double split = s.sequence_split();
  const auto heads = static_cast<double>(attention.heads);
  kept.queries = kWord * heads * static_cast<double>(attention.query_key_dim()) / tensor;
  const auto kv_heads = static_cast<double>(attention.latent ? attention.heads : attention.kv_heads);
  kept.keys = kWord * kv_heads * static_cast<double>(attention.query_key_dim()) / tensor;
  kept.values = kWord * kv_heads * static_cast<double>(attention.value_dim()) / tensor;
  if (attention.latent) {
    kept.latents = 2 * kWord * static_cast<double>(attention.latent->query_rank + attention.latent->key_value_rank);
  }
  if (!s.profile.has_fused_attention) {
    kept.inputs += 2 * hidden / split;                                       // masks of dropout
    kept.scores = 5 * heads / tensor * static_cast<double>(s.run.sequence);  // softmax, mask, dropped scores
  }
  if (!layer.cross) return;
  const double from_source = source_tokens(s, *layer.cross) / s.tokens();
  kept.cross = kWord *
               (2 * heads * static_cast<double>(attention.query_key_dim()) +
                2 * from_source * static_cast<double>(layer.cross->attention.kv_heads) *
                    static_cast<double>(layer.cross->attention.head_dim)) /
               tensor;
  kept.cross += kWord * 2 * hidden / split;
}

void add_perceptrons(const Setting& s, const LayerRun& layer, double product_input, Kept& kept) {
  const auto hidden = static_cast<double>(s.model.hidden);
  const double tensor = s.strategy.tensor;
  const Mlp mlp = common_mlp(layer);
  kept.wide = kWord * static_cast<double>(mlp.inner() * mlp.width) / tensor;
  kept.active = product_input * static_cast<double>(mlp.width) / tensor;
  if (mlp.has_result_gate) {
    // The gate, what it scales, and the inputs of both: mixtures of a token and the one before.
    kept.wide += (2 * kWord + product_input) * hidden / s.sequence_split();
    kept.perceptron_norm += product_input * hidden / (s.profile.gathers_again ? s.sequence_split() : 1);
  }
  if (!layer.experts) return;
  const Experts& experts = *layer.experts;
  const auto active = static_cast<double>(experts.active);
  const double width = active * static_cast<double>(experts.expert.width) / tensor;
  // Ranks that split experts have each other's tokens.
  kept.routed = product_input * active * hidden / tensor * s.strategy.expert_tensor;
  kept.routed_wide = kWord * static_cast<double>(experts.expert.inner()) * width;
  kept.routed_active = product_input * width;
  if (s.profile.keeps_expert_outputs) kept.routed_out = kWord * active * hidden / tensor;
}

Kept kept_by(const Setting& s, const LayerRun& layer) {
  const auto hidden = static_cast<double>(s.model.hidden);
  const double split = s.sequence_split();
  // What products keep of their inputs, and those that come whole from the tensor axis.
  const double product_input = s.run.precision == Precision::kFp8 && s.profile.keeps_fp8 ? 1 : kWord;
  const double norm_split = s.profile.gathers_again ? split : 1;
  Kept kept;
  kept.inputs = layer.parts() * kWord * hidden / split;
  if (!s.profile.has_fused_norms) kept.inputs += layer.parts() * 2 * 4 * hidden / split;
  if (layer.has_mixer()) kept.attention_norm = product_input * hidden / norm_split;
  if (layer.has_perceptron()) kept.perceptron_norm = product_input * hidden / norm_split;
  if (layer.attention.heads > 0) add_attention(s, layer, kept);
  if (layer.recurrence) kept.recurrence = recurrence_bytes(s, *layer.recurrence, product_input);
  // Attention keeps its result for itself; a product in fp8 has one of its own.
  kept.attention = (kWord + (product_input < kWord ? product_input : 0)) *
                   static_cast<double>(layer.attention.heads * layer.attention.value_dim()) / s.strategy.tensor;
  // A gate keeps itself, and what it makes of the result.
  if (layer.attention.has_gate) kept.attention *= 2;
  if (layer.has_perceptron()) add_perceptrons(s, layer, product_input, kept);
  return kept;
}

/// Takes out what modules make again.
void leave_out(const Setting& s, const LayerRun& layer, Kept& kept) {
  const ModuleSet modules = s.strategy.recomputed_modules;
  const auto hidden = static_cast<double>(s.model.hidden);
  if (modules.has(LayerModule::kCoreAttention)) kept.scores = 0;
  if (modules.has(LayerModule::kNorms)) {
    // Others are one kernel with the product behind them, and no modules.
    if (layer.attention.latent) kept.attention_norm = 0;
    if (layer.experts) kept.perceptron_norm = 0;
  }
  if (modules.has(LayerModule::kLatentProjections) && layer.attention.latent) {
    kept.queries = kept.keys = kept.values = 0;
  }
  if (modules.has(LayerModule::kPerceptron) && !layer.experts) kept.perceptron_norm = kept.wide = kept.active = 0;
  if (modules.has(LayerModule::kExpertActivation)) kept.routed_active = 0;
  if (layer.experts && (modules.has(LayerModule::kExperts) || modules.has(LayerModule::kSharedExperts))) {
    kept.wide = kept.active = 0;
  }
  if (modules.has(LayerModule::kExperts)) {
    kept.routed = kept.routed_wide = kept.routed_active = kept.routed_out = 0;
  }
  if (modules.has(LayerModule::kAlternateProducts)) {
    // Kept are the layer's input, every other product from the first on (queries, values, one of those that widen, the
    // last), attention, and what came by messages.
    kept.inputs = layer.parts() * kWord * hidden / s.sequence_split();
    kept.perceptron_norm = kept.latents = kept.keys = 0;
    if (!layer.recurrence) kept.attention_norm = 0;  // a recurrence is kept as it is
    kept.active = kept.routed_active = kept.routed_out = 0;
    kept.wide /= static_cast<double>(common_mlp(layer).inner());
    if (layer.experts) kept.routed_wide /= static_cast<double>(layer.experts->expert.inner());
  }
}

}  // namespace

LayerMemory layer_memory(const Setting& setting, const LayerRun& layer) {
  return in_setting_of(setting, layer, [&](const Setting& s) {
    Kept kept = kept_by(s, layer);
    LayerMemory memory;
    memory.all = kept.sum() * s.tokens();
    leave_out(s, layer, kept);
    memory.kept = kept.sum() * s.tokens();
    memory.input = kWord * s.tokens() * static_cast<double>(s.model.hidden) / s.sequence_split();
    return memory;
  });
}

}  // namespace opweave::strategy
