#include "strategy/products.h"

#include "strategy/recurrences.h"

namespace opweave::strategy {
namespace {

/// Share of the memory bandwidth that streams reach.
constexpr double kStreamShare = 0.85;
/// Seconds that a kernel takes that does nothing: launch and tail.
constexpr double kKernelFloor = 4e-6;

}  // namespace

double Product::seconds(const Setting& s, double flops_per_second) const {
  if (inner == 0 || columns == 0) return 0;
  const double bytes = kWord * (rows * inner + inner * columns + rows * columns);
  return count * (2 * rows * inner * columns / (flops_per_second * s.profile.matrix) +
                  bytes / (s.machines.device.memory_bandwidth * kStreamShare) + kKernelFloor);
}

bool has_own_mesh(const ModelDescription& model, const Strategy& strategy, const LayerRun& layer) {
  return strategy.component && layer.component && model.components[*layer.component].name == strategy.component->name;
}

double source_tokens(const Setting& s, const CrossAttention& cross) {
  const ModelComponent& source = s.model.components[cross.from];
  return static_cast<double>(s.strategy.micro_batch) * static_cast<double>(source.tokens.value_or(s.run.sequence)) /
         s.strategy.context;
}

double seconds(const Setting& s, const std::vector<Product>& products) {
  double sum = 0;
  for (const Product& product : products) sum += product.seconds(s, s.matrix_flops());
  return sum;
}

double weights(const std::vector<Product>& products) {
  double sum = 0;
  for (const Product& product : products) sum += product.weights();
  return sum;
}

namespace {

std::vector<Product> ungated_products(const Setting& s, const Attention& attention) {
  const double tokens = s.tokens();
  const double tensor = s.strategy.tensor;
  const auto hidden = static_cast<double>(s.model.hidden);
  const auto heads = static_cast<double>(attention.heads);
  const Product out{tokens, heads * static_cast<double>(attention.value_dim()) / tensor, hidden};
  if (!attention.latent) {
    const double kv_heads = 2 * static_cast<double>(attention.kv_heads);
    return {{tokens, hidden, (heads + kv_heads) * static_cast<double>(attention.head_dim) / tensor}, out};
  }
  const LatentAttention& latent = *attention.latent;
  const auto rank = static_cast<double>(latent.key_value_rank);
  const auto query_rank = static_cast<double>(latent.query_rank);
  const double queries = heads * static_cast<double>(attention.query_key_dim()) / tensor;
  const double from_latent = heads * static_cast<double>(attention.head_dim + latent.value_dim) / tensor;
  // Products into the latents are not split: every rank of the tensor axis makes them.
  std::vector<Product> products = {{tokens, hidden, rank + static_cast<double>(latent.position_dim) + query_rank}};
  products.push_back({tokens, query_rank > 0 ? query_rank : hidden, queries});
  products.push_back({tokens, rank, from_latent});
  products.push_back(out);
  return products;
}

}  // namespace

std::vector<Product> attention_products(const Setting& s, const Attention& attention) {
  if (attention.heads == 0) return {};
  std::vector<Product> products = ungated_products(s, attention);
  if (attention.has_gate) {
    const double columns = static_cast<double>(attention.heads * attention.value_dim()) / s.strategy.tensor;
    products.push_back({s.tokens(), static_cast<double>(s.model.hidden), columns});
  }
  return products;
}

std::vector<Product> cross_products(const Setting& s, const CrossAttention& cross) {
  const auto hidden = static_cast<double>(s.model.hidden);
  const auto source = static_cast<double>(s.model.components[cross.from].hidden);
  const auto width = static_cast<double>(cross.attention.head_dim) / s.strategy.tensor;
  const double queries = static_cast<double>(cross.attention.heads) * width;
  const double keys = 2 * static_cast<double>(cross.attention.kv_heads) * width;
  return {{s.tokens(), hidden, queries}, {source_tokens(s, cross), source, keys}, {s.tokens(), queries, hidden}};
}

std::vector<Product> mlp_products(const Setting& s, const Mlp& mlp) {
  if (mlp.width == 0) return {};
  const double width = static_cast<double>(mlp.width) / s.strategy.tensor;
  const auto hidden = static_cast<double>(s.model.hidden);
  std::vector<Product> products = {{s.tokens(), hidden, static_cast<double>(mlp.inner()) * width},
                                   {s.tokens(), width, hidden}};
  // Results are scaled where they are summed up: each rank makes the gates of its tokens, with the whole matrix.
  if (mlp.has_result_gate) products.push_back({s.tokens() / s.sequence_split(), hidden, hidden});
  return products;
}

Mlp common_mlp(const LayerRun& layer) {
  return layer.experts ? Mlp{layer.experts->shared_width, layer.experts->expert.is_gated} : layer.mlp;
}

std::vector<Product> common_products(const Setting& s, const LayerRun& layer) {
  std::vector<Product> products = attention_products(s, layer.attention);
  const auto add = [&](const std::vector<Product>& more) { products.insert(products.end(), more.begin(), more.end()); };
  if (layer.recurrence) add(recurrence_products(s, *layer.recurrence));
  if (layer.cross) add(cross_products(s, *layer.cross));
  if (layer.predicts_ahead) {
    const auto hidden = static_cast<double>(s.model.hidden);
    add({{s.tokens(), 2 * hidden, hidden}});
  }
  add(mlp_products(s, common_mlp(layer)));
  return products;
}

std::vector<Product> expert_products(const Setting& s, const Experts& experts) {
  const Strategy& strategy = s.strategy;
  const double local = static_cast<double>(experts.count) / strategy.expert;
  // Tokens of the tensor axis are dealt out to the experts, unless the experts are split over it as well.
  const double tokens = s.tokens() / strategy.tensor * strategy.expert_tensor;
  const double rows = tokens * static_cast<double>(experts.active) / local;
  const double width = static_cast<double>(experts.expert.width) / strategy.expert_tensor;
  const auto hidden = static_cast<double>(s.model.hidden);
  return {{rows, hidden, static_cast<double>(experts.expert.inner()) * width, local}, {rows, width, hidden, local}};
}

}  // namespace opweave::strategy
