#include "strategy/memory.h"

#include <algorithm>
#include <cmath>

#include "strategy/stages.h"

namespace opweave::strategy {
namespace {

constexpr double kWeightBytes = 2;
/// Adam: weights, first and second moment in fp32.
constexpr double kStateBytes = 12;
/// Logits and their gradients on the last stage, and the loss in fp32.
constexpr double kLogitBytes = 10;
/// The same where no kernel joins softmax and loss: bf16, fp32, their gradients, and the softmax.
constexpr double kGatheredLogitBytes = 14;
Bytes bytes(double value) { return Bytes(static_cast<std::int64_t>(std::llround(value))); }

}  // namespace

std::vector<LayerWeights> held_weights(const Setting& s) {
  std::vector<LayerWeights> held;
  for (const auto& stage : stages(s)) {
    LayerWeights& sum = held.emplace_back();
    for (const StageLayers& part : stage) {
      const LayerWeights layer = layer_weights(s, s.model.layers[part.run]);
      sum.common += part.count * layer.common;
      sum.experts += part.count * layer.experts;
    }
  }
  const double table =
      static_cast<double>(s.model.vocabulary) * static_cast<double>(s.model.hidden) / s.strategy.tensor;
  held.front().common += table;
  // A tied head on the stage of the embedding is the same weights; on another stage it is a copy.
  if (!s.model.has_tied_embeddings || s.strategy.pipeline > 1) held.back().common += table;
  return held;
}

StepMemory stage_memory(const Setting& s, std::uint32_t stage, const std::vector<StageLayers>& layers,
                        const LayerWeights& held) {
  const double copies = static_cast<double>(s.strategy.data) * s.strategy.context;
  const double of_experts = std::max(1.0, expert_copies(s.strategy));
  const auto shared = [&](Sharding from, double bytes_per_weight) {
    const bool is_shared = s.strategy.sharding >= from;
    return bytes_per_weight * (held.common / (is_shared ? copies : 1) + held.experts / (is_shared ? of_experts : 1));
  };
  const double two_way = s.strategy.schedule == PipelineKind::kDualPipe ? 2 : 1;
  double kept = 0;
  double largest_layer = 0;
  double largest_weights = 0;
  double count = 0;
  for (const StageLayers& part : layers) {
    const LayerRun& run = s.model.layers[part.run];
    const double layer = kept_bytes(s, run);
    kept += part.count * layer;
    count += part.count;
    largest_layer = std::max(largest_layer, layer);
    const LayerWeights weights = layer_weights(s, run);
    largest_weights = std::max(largest_weights, weights.common + weights.experts);
  }
  double working = 0;
  if (s.strategy.recompute == Recompute::kFull && count > 0) {
    const double made_again =
        s.strategy.recomputed_layers ? std::min(count, static_cast<double>(*s.strategy.recomputed_layers)) : count;
    kept = kept * (count - made_again) / count + made_again * kept_input_bytes(s);
    working = largest_layer;
  }
  StepMemory memory;
  memory.weights = bytes(two_way * shared(Sharding::kWeights, kWeightBytes));
  memory.gradients =
      bytes(two_way * shared(Sharding::kGradients, static_cast<double>(s.profile.gradient_bytes.value())));
  memory.optimizer = bytes(two_way * shared(Sharding::kOptimizer, kStateBytes));
  memory.activations = bytes(in_flight(s, stage) * kept + working);
  double buffers = 0;
  if (s.strategy.sharding == Sharding::kWeights) buffers += kGatheredBytes * largest_weights;
  if (stage + 1 == s.strategy.pipeline) {
    const double logits = s.tokens() * static_cast<double>(s.model.vocabulary);
    // Gathered logits: those of all ranks beside one's own, and fp32 copies of all.
    buffers += s.profile.has_split_loss ? kLogitBytes * logits / s.strategy.tensor : kGatheredLogitBytes * logits;
  }
  memory.buffers = bytes(buffers);
  memory.reserve =
      bytes(kProcessBytes + kFragmentation * static_cast<double>((memory.activations + memory.buffers).value()));
  return memory;
}

std::vector<StepMemory> stage_memories(const Setting& s) {
  const auto layers = stages(s);
  const std::vector<LayerWeights> held = held_weights(s);
  std::vector<StepMemory> memories;
  for (std::uint32_t i = 0; i < layers.size(); ++i) {
    const Strategy own = s.strategy.of_stage(i);
    memories.push_back(stage_memory({s.model, s.machines, s.run, own, s.profile}, i, layers[i], held[i]));
  }
  return memories;
}

StepMemory largest_memory(const Setting& s, std::uint32_t& stage) {
  const std::vector<StepMemory> memories = stage_memories(s);
  const auto most = std::ranges::max_element(memories, {}, &StepMemory::total);
  stage = static_cast<std::uint32_t>(most - memories.begin());
  return *most;
}

}  // namespace opweave::strategy
