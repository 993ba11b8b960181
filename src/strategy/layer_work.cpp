#include "strategy/layer_work.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cost/collective.h"
#include "strategy/axes.h"
#include "strategy/modules.h"
#include "strategy/products.h"
#include "strategy/recurrences.h"

namespace opweave::strategy {
namespace {

/// Tensors of hidden width that norm, residual addition and dropout of one part of a layer (mixer, perceptron) read and
/// write in the forward pass.
constexpr double kResidualTensors = 5;
/// Tensors of hidden width beside these where results are gated (RWKV): two mixtures of a token and the one before,
/// read and written, and the gate with what it scales.
constexpr double kResultGateTensors = 7;
/// A backward pass over memory-bound operators moves this many times the bytes of the forward pass.
constexpr double kBackwardTraffic = 1.7;
/// Bytes per score that unfused attention moves: write, mask and softmax, dropout, read.
constexpr double kScoreBytes = 11;
/// Share of the peak that batched products of scores reach.
constexpr double kScoreMatrixShare = 0.55;
/// Bytes per logit that a loss in fp32 moves.
constexpr double kLossBytes = 14;
/// Share of its rate that the head keeps where its rows begin on odd words: copies that feed tensor cores have 4 bytes
/// at least. Of heads of 50257 columns, beside those of 25128, on A100 (vTrain's single-node table).
constexpr double kOddHeadShare = 0.36;
/// Without sequence parallelism the all-reduce of the backward pass hides partly behind weight gradients.
constexpr double kHiddenBackwardReduce = 0.6;
/// What is left exposed of tensor-parallel collectives that run in pieces beside the products.
constexpr double kOverlappedTensorShare = 0.4;

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
  double bytes = kResidualTensors * layer.parts() * hidden / split;
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
  if (attention.has_gate) bytes += 3 * static_cast<double>(attention.heads * attention.value_dim()) / s.strategy.tensor;
  if (layer.recurrence) bytes += recurrence_traffic(s, *layer.recurrence);
  if (layer.mlp.has_result_gate) bytes += kResultGateTensors * hidden / split;
  const double forward = s.profile.traffic * kWord * s.tokens() * bytes / s.machines.device.memory_bandwidth;
  time.forward.traffic += forward;
  time.backward.traffic += kBackwardTraffic * forward;
}

void add_tensor_collectives(const Setting& s, const LayerRun& layer, LayerTime& time) {
  const Attention& attention = layer.attention;
  const double activation = kWord * s.tokens() * static_cast<double>(s.model.hidden);
  double reduce =
      layer.parts() * all_reduce_seconds(tensor_ring(s.machines, s.strategy), activation) * s.profile.communication;
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
double Setting::gradient_bytes() const {
  return run.has_bf16_gradients ? kWord : static_cast<double>(profile.gradient_bytes.value());
}
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
    if (layer.recurrence) add_recurrence(s, *layer.recurrence, time);
    add_tensor_collectives(s, layer, time);
    if (layer.experts) add_expert_collectives(s, *layer.experts, time);
    time.modules = module_times(s, layer, time.forward);
    const double launches = static_cast<double>(s.profile.launches.value()) * 1e-9 * layer.parts() / 2;
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
  const bool is_odd = !s.profile.pads_vocabulary && std::fmod(vocabulary, 2) == 1;
  time.forward.matrix = product.seconds(s, s.machines.device.bf16_flops * (is_odd ? kOddHeadShare : 1));
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

}  // namespace opweave::strategy
