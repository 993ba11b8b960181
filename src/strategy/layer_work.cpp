#include "strategy/layer_work.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cost/collective.h"
#include "strategy/axes.h"

namespace opweave::strategy {
namespace {

/// Bytes of an activation.
constexpr double kWord = 2;
/// Share of the memory bandwidth that streams reach.
constexpr double kStreamShare = 0.85;
/// Seconds that a kernel takes that does nothing: launch and tail.
constexpr double kKernelFloor = 4e-6;
/// Tensors of hidden width that norms, residual additions and dropout of a layer read and write in the forward pass.
constexpr double kResidualTensors = 10;
/// Norms of a layer.
constexpr double kNorms = 2;
/// A backward pass over memory-bound operators moves this many times the bytes of the forward pass.
constexpr double kBackwardTraffic = 1.7;
/// Bytes per score that unfused attention moves: write, mask and softmax, dropout, read.
constexpr double kScoreBytes = 11;
/// Share of the peak that batched products of scores reach.
constexpr double kScoreMatrixShare = 0.55;
/// Bytes per logit that a loss in fp32 moves.
constexpr double kLossBytes = 14;
/// Without sequence parallelism the all-reduce of the backward pass hides partly behind weight gradients.
constexpr double kHiddenBackwardReduce = 0.6;
/// What is left exposed of tensor-parallel collectives that run in pieces beside the products.
constexpr double kOverlappedTensorShare = 0.4;

/// Calls `work` with the setting in which a layer works: that of the main chain, or the width and tokens of its
/// component.
template <class Work>
auto in_setting_of(const Setting& s, const LayerRun& layer, Work work) {
  if (!layer.component) return work(s);
  ModelDescription model;
  model.hidden = s.model.hidden_in(layer);
  model.components = s.model.components;
  TrainingRun run = s.run;
  run.sequence = s.model.tokens_in(layer, run.sequence);
  return work(Setting{model, s.machines, run, s.strategy, s.profile});
}

/// Tokens of a microbatch on one rank that attention to a component looks at.
double source_tokens(const Setting& s, const CrossAttention& cross) {
  const ModelComponent& source = s.model.components[cross.from];
  return static_cast<double>(s.strategy.micro_batch) * static_cast<double>(source.tokens.value_or(s.run.sequence)) /
         s.strategy.context;
}

/// Rows times `inner` by `inner` times columns.
struct Product {
  double rows;
  double inner;
  double columns;
  double count = 1;  ///< equal ones

  [[nodiscard]] double seconds(const Setting& s, double flops_per_second) const {
    const double bytes = kWord * (rows * inner + inner * columns + rows * columns);
    return count * (2 * rows * inner * columns / (flops_per_second * s.profile.matrix) +
                    bytes / (s.machines.device.memory_bandwidth * kStreamShare) + kKernelFloor);
  }
  [[nodiscard]] double weights() const { return count * inner * columns; }
};

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

std::vector<Product> attention_products(const Setting& s, const Attention& attention) {
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
  return {{s.tokens(), hidden, static_cast<double>(mlp.inner()) * width}, {s.tokens(), width, hidden}};
}

/// All matrices of a layer but those of its experts.
std::vector<Product> common_products(const Setting& s, const LayerRun& layer) {
  std::vector<Product> products = attention_products(s, layer.attention);
  const auto add = [&](const std::vector<Product>& more) { products.insert(products.end(), more.begin(), more.end()); };
  if (layer.cross) add(cross_products(s, *layer.cross));
  if (layer.predicts_ahead) {
    const auto hidden = static_cast<double>(s.model.hidden);
    add({{s.tokens(), 2 * hidden, hidden}});
  }
  add(mlp_products(s, layer.experts ? Mlp{layer.experts->shared_width, layer.experts->expert.is_gated} : layer.mlp));
  return products;
}

/// Each local expert under balanced routing.
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

/// Core of attention to `sequence` tokens: scores, softmax, values.
void add_attention(const Setting& s, const Attention& attention, double sequence, LayerTime& time) {
  const double seen = attention.window ? std::min(sequence, static_cast<double>(*attention.window)) : sequence;
  const double heads = static_cast<double>(attention.heads) / s.strategy.tensor;
  const double flops =
      2 * s.tokens() * seen * heads * static_cast<double>(attention.query_key_dim() + attention.value_dim());
  const Accelerator& device = s.machines.device;
  if (!s.profile.has_fused_attention) {
    const double traffic = s.tokens() * seen * heads * kScoreBytes / device.memory_bandwidth;
    const double products = flops / (device.bf16_flops * kScoreMatrixShare);
    time.forward.attention += products + traffic;
    time.backward.attention += 2 * products + 1.1 * traffic;
    return;
  }
  // Fused kernels leave out what the mask hides: half, unless a window hides more.
  double masked = attention.is_causal ? (seen < sequence ? 1.0 : 0.5) : 1.0;
  if (!s.profile.balances_context && s.strategy.context > 1) masked *= 2 - 1.0 / s.strategy.context;
  time.forward.attention += flops * masked / (device.bf16_flops * s.profile.attention_forward);
  time.backward.attention += 2.5 * flops * masked / (device.bf16_flops * s.profile.attention_backward);
}

/// Norms, residuals, activation functions, positions, and what routing copies.
void add_traffic(const Setting& s, const LayerRun& layer, LayerTime& time) {
  const Attention& attention = layer.attention;
  const auto hidden = static_cast<double>(s.model.hidden);
  const double split = s.sequence_split();
  double bytes = kResidualTensors * hidden / split;
  double width = static_cast<double>(layer.mlp.width);
  double inner = static_cast<double>(layer.mlp.inner());
  if (layer.experts) {
    const auto active = static_cast<double>(layer.experts->active);
    width =
        active * static_cast<double>(layer.experts->expert.width) + static_cast<double>(layer.experts->shared_width);
    inner = static_cast<double>(layer.experts->expert.inner());
    bytes += 4 * active * hidden / split;  // permuted, and back, with gates
  }
  bytes += (inner + 1) * width / s.strategy.tensor;
  const double heads = static_cast<double>(attention.heads + 2 * attention.kv_heads);
  bytes += 2 * heads * static_cast<double>(attention.head_dim) / s.strategy.tensor;
  const double forward = s.profile.traffic * kWord * s.tokens() * bytes / s.machines.device.memory_bandwidth;
  time.forward.traffic += forward;
  time.backward.traffic += kBackwardTraffic * forward;
}

void add_tensor_collectives(const Setting& s, const Attention& attention, LayerTime& time) {
  const double activation = kWord * s.tokens() * static_cast<double>(s.model.hidden);
  double reduce = 2 * all_reduce_seconds(tensor_ring(s.machines, s.strategy), activation) * s.profile.communication;
  if (s.strategy.overlaps_tensor) reduce *= kOverlappedTensorShare;
  time.forward.tensor += reduce;
  time.backward.tensor += reduce * (s.strategy.has_sequence_parallelism ? 1 : kHiddenBackwardReduce);
  if (s.strategy.context == 1) return;
  // Keys and values go round the ring while attention works on those that are there.
  const double keys = 2 * kWord * s.tokens() * static_cast<double>(attention.kv_heads) *
                      static_cast<double>(attention.head_dim) / s.strategy.tensor;
  const Ring ring = context_ring(s.machines, s.strategy);
  const double around = keys * (ring.ranks - 1) / ring.bandwidth;
  time.forward.tensor += std::max(0.0, around - time.forward.attention) * s.profile.communication;
  time.backward.tensor += std::max(0.0, 2 * around - time.backward.attention) * s.profile.communication;
}

void add_expert_collectives(const Setting& s, const Experts& experts, LayerTime& time) {
  if (s.strategy.expert == 1) return;
  const Ring ring = expert_ring(s.machines, s.strategy);
  // A token goes to a node once, however many of its experts are there.
  const double nodes = expert_nodes(s.machines, s.strategy);
  const double copies = nodes > 1 ? std::min(static_cast<double>(experts.active), kMostNodesOfToken)
                                  : static_cast<double>(experts.active);
  const double bytes = kWord * s.tokens() / s.strategy.tensor * copies * static_cast<double>(s.model.hidden);
  const double both = 2 * all_to_all_seconds(ring, bytes) * s.profile.communication;
  time.forward.expert += both;
  time.backward.expert += both;
}

/// Where kernels are shorter than the time to start them, the device waits for the process.
void expect_launches(PassTime& pass, double launches) { pass.traffic += std::max(0.0, launches - pass.total()); }

}  // namespace

double Setting::tokens() const {
  return static_cast<double>(strategy.micro_batch) * static_cast<double>(run.sequence) / strategy.context;
}
double Setting::sequence_split() const { return strategy.has_sequence_parallelism ? strategy.tensor : 1; }
double Setting::matrix_flops() const {
  return run.precision == Precision::kFp8 ? machines.device.fp8_flops : machines.device.bf16_flops;
}

PassTime& PassTime::operator+=(const PassTime& other) {
  matrix += other.matrix;
  attention += other.attention;
  traffic += other.traffic;
  tensor += other.tensor;
  expert += other.expert;
  return *this;
}

PassTime operator*(PassTime time, double factor) {
  time.matrix *= factor;
  time.attention *= factor;
  time.traffic *= factor;
  time.tensor *= factor;
  time.expert *= factor;
  return time;
}

LayerTime layer_time(const Setting& setting, const LayerRun& layer) {
  return in_setting_of(setting, layer, [&](const Setting& s) {
    LayerTime time;
    double matrix = seconds(s, common_products(s, layer));
    if (layer.experts) matrix += seconds(s, expert_products(s, *layer.experts));
    time.forward.matrix = matrix;
    time.backward.matrix = 2 * matrix;  // one product for the inputs, one for the weights
    add_attention(s, layer.attention, static_cast<double>(s.run.sequence), time);
    if (layer.cross) {
      const double seen = source_tokens(s, *layer.cross) * s.strategy.context / s.strategy.micro_batch;
      add_attention(s, layer.cross->attention, seen, time);
    }
    add_traffic(s, layer, time);
    add_tensor_collectives(s, layer.attention, time);
    if (layer.experts) add_expert_collectives(s, *layer.experts, time);
    const double launches = static_cast<double>(s.profile.launches.value()) * 1e-9;
    expect_launches(time.forward, launches);
    expect_launches(time.backward, 2 * launches);
    if (layer.predicts_ahead) {
      const LayerTime head = head_time(s);
      time.forward += head.forward;
      time.backward += head.backward;
    }
    return time;
  });
}

LayerTime head_time(const Setting& s) {
  const double vocabulary = static_cast<double>(s.model.vocabulary) / s.strategy.tensor;
  const Product product{s.tokens(), static_cast<double>(s.model.hidden), vocabulary};
  LayerTime time;
  time.forward.matrix = product.seconds(s, s.machines.device.bf16_flops);
  time.backward.matrix = 2 * time.forward.matrix;
  time.forward.traffic = s.tokens() * vocabulary * kLossBytes / s.machines.device.memory_bandwidth;
  return time;
}

LayerWeights layer_weights(const Setting& setting, const LayerRun& layer) {
  return in_setting_of(setting, layer, [&](const Setting& s) {
    LayerWeights held;
    held.common = weights(common_products(s, layer)) + static_cast<double>(layer.other_parameters);
    if (layer.experts) held.experts = weights(expert_products(s, *layer.experts));
    return held;
  });
}

double expert_copies(const Strategy& strategy) {
  return static_cast<double>(strategy.tensor) * strategy.context * strategy.data / strategy.expert /
         strategy.expert_tensor;
}

namespace {

double kept_bytes_in(const Setting& s, const LayerRun& layer) {
  const Attention& attention = layer.attention;
  const auto hidden = static_cast<double>(s.model.hidden);
  const double tensor = s.strategy.tensor;
  const double split = s.sequence_split();
  const auto heads = static_cast<double>(attention.heads);
  // Inputs and outputs of both norms.
  double words = 4 * hidden / split;
  double queries = heads * static_cast<double>(attention.query_key_dim());
  double keys =
      static_cast<double>(attention.kv_heads) * static_cast<double>(attention.head_dim + attention.value_dim());
  if (attention.latent) {
    keys = heads * static_cast<double>(attention.query_key_dim() + attention.value_dim());
    words += static_cast<double>(attention.latent->query_rank + attention.latent->key_value_rank) * 2;
  }
  words += (queries + keys + heads * static_cast<double>(attention.value_dim())) / tensor;
  if (layer.experts) {
    const Experts& experts = *layer.experts;
    const auto active = static_cast<double>(experts.active);
    const double inner = static_cast<double>(experts.expert.inner()) + 1;
    words += active * hidden / tensor * 2;  // tokens that came, results that go back
    words += active * inner * static_cast<double>(experts.expert.width) / tensor;
    words += inner * static_cast<double>(experts.shared_width) / tensor;
  } else {
    words += (static_cast<double>(layer.mlp.inner()) + 1) * static_cast<double>(layer.mlp.width) / tensor;
  }
  if (layer.cross) {
    const double from_source = source_tokens(s, *layer.cross) / s.tokens();
    words += (2 * queries + 2 * from_source * static_cast<double>(layer.cross->attention.kv_heads) *
                                static_cast<double>(layer.cross->attention.head_dim)) /
             tensor;
    words += 2 * hidden / split;  // its norm
  }
  double bytes = kWord * words;
  if (!s.profile.has_fused_norms) bytes += kNorms * 2 * 4 * hidden / split;
  if (!s.profile.has_fused_attention) {
    bytes += 2 * hidden / split;  // masks of dropout
    // Also while a layer is made again, and in those that are not.
    if (s.strategy.recompute != Recompute::kAttention) {
      bytes += 5 * heads / tensor * static_cast<double>(s.run.sequence);  // softmax, mask, dropped scores
    }
  }
  return bytes * s.tokens();
}

}  // namespace

double kept_bytes(const Setting& setting, const LayerRun& layer) {
  return in_setting_of(setting, layer, [&](const Setting& s) { return kept_bytes_in(s, layer); });
}

double kept_input_bytes(const Setting& setting, const LayerRun& layer) {
  return in_setting_of(setting, layer, [](const Setting& s) {
    return kWord * s.tokens() * static_cast<double>(s.model.hidden) / s.sequence_split();
  });
}

}  // namespace opweave::strategy
