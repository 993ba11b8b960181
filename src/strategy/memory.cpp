#include "strategy/memory.h"

#include <algorithm>
#include <cmath>

#include "strategy/layer_memory.h"
#include "strategy/products.h"
#include "strategy/stages.h"

namespace opweave::strategy {
namespace {

constexpr double kWeightBytes = 2;
/// Weights in fp32; where weights are shared out, those are the only ones, and what is gathered is rounded.
constexpr double kMasterBytes = 4;
/// Logits that no kernel joins with the loss: bf16, fp32, the softmax and its gradient.
constexpr double kWholeLogitBytes = 14;
/// Where they are gathered over the tensor axis: the pieces beside what they are put together to, and the gradient that
/// is split again.
constexpr double kGatheredLogitBytes = 4;
/// Logits and their gradient in bf16.
constexpr double kFusedLogitBytes = 4;
/// Inputs of the tensor axis that are there whole at a time: one, or those of four products that run beside their
/// messages, which have buffers of their own.
constexpr double kGatheredInputs = 1;
constexpr double kOverlappedInputs = 4;
/// Layers whose activations are on their way to the host, or back.
constexpr double kLayersOnTheirWay = 2;

Bytes bytes(double value) { return Bytes(static_cast<std::int64_t>(std::llround(value))); }

/// Does the stage have the embedding or the head?
bool has_table(const Strategy& s, std::uint32_t stage) { return stage == s.first_stage() || stage + 1 == s.stages(); }

/// Bytes of a microbatch's hidden state on one rank, before it is split over the tensor axis.
double hidden_bytes(const Setting& s, std::uint32_t stage) {
  const auto of = [](const Setting& own) { return kWord * own.tokens() * static_cast<double>(own.model.hidden); };
  return stage < s.strategy.first_stage() ? in_setting_of(s, s.model.layers.front(), of) : of(s);
}

/// Gathered weights and inputs, logits.
double buffer_bytes(const Setting& s, std::uint32_t stage, const std::vector<StageLayers>& layers,
                    std::span<const LayerWeights> weights) {
  const auto hidden = static_cast<double>(s.model.hidden);
  const auto vocabulary = static_cast<double>(s.model.vocabulary);
  double largest_weights = has_table(s.strategy, stage) ? vocabulary * hidden / s.strategy.tensor : 0;
  double heads = stage + 1 == s.strategy.stages() ? 1 : 0;
  for (const StageLayers& part : layers) {
    if (s.model.layers[part.run].predicts_ahead) heads += part.count;
    largest_weights = std::max(largest_weights, weights[part.run].common + weights[part.run].experts);
  }
  double buffers = s.strategy.sharding == Sharding::kWeights ? kGatheredBytes * largest_weights : 0;
  if (s.sequence_split() > 1) {
    buffers += (s.strategy.overlaps_tensor ? kOverlappedInputs : kGatheredInputs) * hidden_bytes(s, stage);
  }
  const double logits = heads * s.tokens() * vocabulary;
  const auto stated = static_cast<double>(s.profile.logit_bytes.value());
  const double logit_bytes = s.run.has_fused_loss ? std::min(kFusedLogitBytes, stated) : stated;
  if (s.profile.has_split_loss) return buffers + logit_bytes * logits / s.strategy.tensor;
  return buffers + (kWholeLogitBytes + (s.strategy.tensor > 1 ? kGatheredLogitBytes : 0)) * logits;
}

/// Of the runs that have layers on the stage; of others nothing.
std::vector<LayerMemory> memory_by_run(const Setting& s, const std::vector<StageLayers>& layers) {
  std::vector<LayerMemory> result(s.model.layers.size());
  for (const StageLayers& part : layers) result[part.run] = layer_memory(s, s.model.layers[part.run]);
  return result;
}

StageActivations stage_activations(const Strategy& strategy, const std::vector<StageLayers>& layers,
                                   std::span<const LayerMemory> by_run) {
  const double share = made_again_share(strategy, layers);
  StageActivations result;
  for (const StageLayers& part : layers) {
    const LayerMemory& layer = by_run[part.run];
    result.microbatch += part.count * (layer.kept * (1 - share) + layer.input * share);
    result.largest_layer = std::max(result.largest_layer, share < 1 ? layer.kept : layer.input);
    // What is made again is there while its layer's backward pass runs.
    const double again = share > 0 ? layer.all : layer.all - layer.kept;
    result.working = std::max(result.working, again);
  }
  return result;
}

}  // namespace

StageActivations stage_activations(const Setting& s, const std::vector<StageLayers>& layers) {
  return stage_activations(s.strategy, layers, memory_by_run(s, layers));
}

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
  LayerWeights& first = held[s.strategy.first_stage()];
  first.common += table;
  for (const ModelComponent& component : s.model.components) {
    const bool has_mesh = s.strategy.component && component.name == s.strategy.component->name;
    (has_mesh ? held.front() : first).common += static_cast<double>(component.other_parameters);
  }
  // A tied head on the stage of the embedding is the same weights; on another stage it is a copy.
  if (!s.model.has_tied_embeddings || s.strategy.pipeline > 1) held.back().common += table;
  return held;
}

StepMemory stage_memory(const Setting& s, std::uint32_t stage, const std::vector<StageLayers>& layers,
                        const LayerWeights& held) {
  double count = 0;
  for (const StageLayers& part : layers) count += part.count;
  const auto by_chunk = layers_of_chunks(s.strategy, stage, static_cast<std::uint32_t>(std::llround(count)));
  return stage_memory(s, stage, layers, held, in_flight(s, stage, by_chunk));
}

StepMemory stage_memory(const Setting& s, std::uint32_t stage, const std::vector<StageLayers>& layers,
                        const LayerWeights& held, double flights) {
  std::vector<LayerWeights> weights(s.model.layers.size());
  for (const StageLayers& part : layers) weights[part.run] = layer_weights(s, s.model.layers[part.run]);
  return stage_memory(s, stage, layers, held, flights, {memory_by_run(s, layers), weights});
}

StepMemory stage_memory(const Setting& s, std::uint32_t stage, const std::vector<StageLayers>& layers,
                        const LayerWeights& held, double flights, const LayersHold& hold) {
  const double copies = static_cast<double>(s.strategy.data) * s.strategy.context;
  const double of_experts = std::max(1.0, expert_copies(s.strategy));
  const auto shared = [&](Sharding from, double bytes_per_weight) {
    const bool is_shared = s.strategy.sharding >= from;
    return bytes_per_weight * (held.common / (is_shared ? copies : 1) + held.experts / (is_shared ? of_experts : 1));
  };
  const double two_way = s.strategy.schedule == PipelineKind::kDualPipe ? 2 : 1;
  const StageActivations kept = stage_activations(s.strategy, layers, hold.activations);
  const double offload = s.strategy.activation_offload;
  const double activations = flights * kept.microbatch;
  const bool shares_weights = s.strategy.sharding == Sharding::kWeights;
  const double states = (shares_weights ? 0 : kMasterBytes) + (s.run.has_bf16_moments ? 4 : 8);
  const double optimizer = two_way * shared(Sharding::kOptimizer, states);
  StepMemory memory;
  memory.weights = bytes(two_way * shared(Sharding::kWeights, shares_weights ? kMasterBytes : kWeightBytes));
  memory.gradients = bytes(two_way * shared(Sharding::kGradients, s.gradient_bytes()));
  memory.optimizer = bytes(optimizer * (1 - s.strategy.optimizer_offload));
  memory.activations = bytes(activations * (1 - offload) + kept.working);
  memory.host = bytes(activations * offload + optimizer * s.strategy.optimizer_offload);
  memory.buffers =
      bytes(buffer_bytes(s, stage, layers, hold.weights) + kLayersOnTheirWay * offload * kept.largest_layer);
  memory.reserve = Bytes(s.profile.reserve.value()) +
                   bytes(kFragmentation * static_cast<double>((memory.activations + memory.buffers).value()));
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

bool fits(const StepMemory& memory, const Machines& machines) {
  return memory.total() <= machines.device.memory && memory.host <= machines.device.host_memory;
}

}  // namespace opweave::strategy
