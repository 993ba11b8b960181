/// Matrix products of a layer on one rank, for one microbatch.
#pragma once

#include <vector>

#include "strategy/layer_work.h"

namespace opweave::strategy {

/// Bytes of an activation.
inline constexpr double kWord = 2;

/// Rows times `inner` by `inner` times columns.
struct Product {
  double rows;
  double inner;
  double columns;
  double count = 1;  ///< equal ones

  [[nodiscard]] double seconds(const Setting& s, double flops_per_second) const;
  [[nodiscard]] double weights() const { return count * inner * columns; }
};
[[nodiscard]] double seconds(const Setting& s, const std::vector<Product>& products);
[[nodiscard]] double weights(const std::vector<Product>& products);

/// Into queries, keys and values, and out; with latents: into them, queries, keys and values from them, out.
[[nodiscard]] std::vector<Product> attention_products(const Setting& s, const Attention& attention);
[[nodiscard]] std::vector<Product> mlp_products(const Setting& s, const Mlp& mlp);
/// The perceptron that all tokens go through: the dense one, or that of shared experts (width 0: none).
[[nodiscard]] Mlp common_mlp(const LayerRun& layer);
/// All matrices of a layer but those of its experts.
[[nodiscard]] std::vector<Product> common_products(const Setting& s, const LayerRun& layer);
/// Each local expert under balanced routing.
[[nodiscard]] std::vector<Product> expert_products(const Setting& s, const Experts& experts);

/// Tokens of a microbatch on one rank that attention to a component looks at.
[[nodiscard]] double source_tokens(const Setting& s, const CrossAttention& cross);

/// Does the layer lie on the mesh of its component alone?
[[nodiscard]] bool has_own_mesh(const ModelDescription& model, const Strategy& strategy, const LayerRun& layer);

/// Calls `work` with the setting in which a layer works: that of the main chain, or the width, the tokens and, where it
/// has one, the mesh of its component.
template <class Work>
auto in_setting_of(const Setting& s, const LayerRun& layer, Work work) {
  if (!layer.component) return work(s);
  ModelDescription model;
  model.hidden = s.model.hidden_in(layer);
  model.components = s.model.components;
  TrainingRun run = s.run;
  run.sequence = s.model.tokens_in(layer, run.sequence);
  if (!has_own_mesh(s.model, s.strategy, layer)) return work(Setting{model, s.machines, run, s.strategy, s.profile});
  const Strategy own = s.strategy.on_component_mesh();
  return work(Setting{model, s.machines, run, own, s.profile});
}

}  // namespace opweave::strategy
