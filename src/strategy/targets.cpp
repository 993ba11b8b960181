// What each framework has words for.
#include <fmt/format.h>

#include <algorithm>

#include "opweave/strategy_targets.h"
#include "strategy/keep_choice.h"
#include "strategy/products.h"
#include "strategy/stages.h"

namespace opweave {
namespace {

bool has_experts(const ModelDescription& model) {
  return std::ranges::any_of(model.layers, [](const LayerRun& run) { return run.experts.has_value(); });
}

/// What no framework here builds from a description: branches that feed the main chain.
std::string why_no_chain(const ModelDescription& model) {
  if (!model.components.empty()) {
    return fmt::format("component \"{}\" feeds the model, the targets' own models are one chain of layers",
                       model.components.front().name);
  }
  return {};
}

/// What is kept, in Megatron-LM's words: one setting for all stages.
std::string why_kept_not_megatron(const ModelDescription& model, const Strategy& s) {
  if (!s.recomputed_per_stage.empty()) {
    return "Megatron-LM has one number of layers made again for all stages: recomputed_per_stage is set";
  }
  if (!s.modules_per_stage.empty() || !s.offload_per_stage.empty()) {
    return fmt::format("Megatron-LM keeps the same on all stages: {} is set",
                       s.modules_per_stage.empty() ? "offload_per_stage" : "modules_per_stage");
  }
  if (s.recomputed_layers && s.recompute == Recompute::kFull && *s.recomputed_layers % s.chunks != 0) {
    return fmt::format("{} layers of a stage are made again, Megatron-LM has one number for each of {} chunks",
                       *s.recomputed_layers, s.chunks);
  }
  if (s.recomputed_modules.has(LayerModule::kAlternateProducts)) {
    return "selective_ac is torchtitan's, Megatron-LM makes modules again by name";
  }
  if (s.recompute == Recompute::kFull && (!s.recomputed_modules.empty() || s.activation_offload > 0)) {
    return "Megatron-LM makes whole layers again or modules, and moves nothing to the host beside whole layers";
  }
  return s.activation_offload > 0 ? strategy::why_not_offloaded(Target::kMegatron, model, s.recomputed_modules) : "";
}

std::string why_not_megatron(const ModelDescription& model, const TrainingRun& run, const Strategy& s) {
  if (s.schedule != PipelineKind::k1F1B && s.schedule != PipelineKind::kInterleaved) {
    return fmt::format("schedule is {}, Megatron-LM has 1F1B and its interleaved form", to_string(s.schedule));
  }
  // Checked where a step starts (pipeline_parallel/schedules.py): groups of `pipeline` microbatches, no rest.
  if (const std::int64_t count = strategy::microbatches(run, s); s.chunks > 1 && count % s.pipeline != 0) {
    return fmt::format("{} microbatches are no multiple of pipeline {}, as Megatron-LM's interleaved schedule needs",
                       count, s.pipeline);
  }
  if (std::string why = why_kept_not_megatron(model, s); !why.empty()) return why;
  if (s.context > 1 && run.sequence % (2 * std::int64_t{s.context}) != 0) {
    return fmt::format("{} tokens are no multiple of 2 x context {}, as Megatron-LM needs", run.sequence, s.context);
  }
  if (has_experts(model) && s.tensor > 1 && !s.has_sequence_parallelism) {
    return "Megatron-LM trains experts beside a tensor axis with sequence parallelism only";
  }
  if (s.overlaps_tensor && !s.has_sequence_parallelism) {
    return "Megatron-LM overlaps the tensor axis with sequence parallelism only";
  }
  for (const LayerRun& layers : model.layers) {
    if (layers.recurrence) {
      if (layers.recurrence->update == StateUpdate::kScan) {
        return "Megatron-LM has Mamba-2 and gated delta nets, not Mamba's scan (update \"scan\")";
      }
      if (layers.recurrence->update == StateUpdate::kAverage) {
        return "Megatron-LM has Mamba-2 and gated delta nets, not RWKV (update \"average\")";
      }
      if (layers.recurrence->update == StateUpdate::kConvolve) {
        return "Megatron-LM has Mamba-2 and gated delta nets, not short convolutions (update \"convolve\")";
      }
      if (layers.recurrence->update == StateUpdate::kLru) {
        return "Megatron-LM has Mamba-2 and gated delta nets, not RG-LRU (update \"lru\")";
      }
      if (layers.recurrence->update == StateUpdate::kDelta && layers.recurrence->decay_rank > 0) {
        return "Megatron-LM has gated delta nets that decay by head, not by column of the keys (decay_rank)";
      }
      if (layers.recurrence->key_heads % s.tensor != 0) {
        return fmt::format("{} key heads of a recurrence and tensor {}: Megatron-LM needs a multiple",
                           layers.recurrence->key_heads, s.tensor);
      }
    }
    const std::int64_t groups = layers.attention.latent ? layers.attention.heads : layers.attention.kv_heads;
    if (groups % s.tensor != 0 && s.tensor % groups != 0) {
      return fmt::format("{} key-value heads and tensor {}: Megatron-LM needs one to divide the other", groups,
                         s.tensor);
    }
  }
  return {};
}

std::string why_kept_not_torchtitan(const Strategy& s) {
  constexpr ModuleSet kSelective = {LayerModule::kAlternateProducts};
  if (!s.recomputed_modules.empty() && !(s.recomputed_modules == kSelective)) {
    return fmt::format("torchtitan has one selective checkpointing (selective_ac), not that of {}",
                       to_string(s.recomputed_modules, ", "));
  }
  if (s.recompute == Recompute::kFull && (s.recomputed_layers || !s.recomputed_modules.empty())) {
    return s.recomputed_layers ? "torchtitan makes all layers again or none: recomputed_layers is " +
                                     std::to_string(*s.recomputed_layers)
                               : "torchtitan makes whole layers again or parts of all: both are set";
  }
  if (!s.recomputed_per_stage.empty()) return "torchtitan makes all layers again or none: recomputed_per_stage is set";
  if (!s.modules_per_stage.empty() || !s.offload_per_stage.empty()) {
    return fmt::format("torchtitan keeps the same on all stages: {} is set",
                       s.modules_per_stage.empty() ? "offload_per_stage" : "modules_per_stage");
  }
  if (s.activation_offload > 0) return "torchtitan keeps activations on the device: activation_offload is set";
  if (s.optimizer_offload > 0) {
    return "torchtitan moves weights to the host with the optimizer's state, not the state alone: optimizer_offload is "
           "set";
  }
  return {};
}

std::string why_not_torchtitan(const ModelDescription& model, const TrainingRun& run, const Strategy& s) {
  if (std::ranges::any_of(model.layers, &LayerRun::predicts_ahead)) {
    return "torchtitan's decoders have no module that predicts further ahead";
  }
  if (model.has_recurrences()) return "torchtitan's decoders have no recurrences (state spaces, linear attention)";
  if (s.schedule == PipelineKind::kDualPipe) return "torchtitan has one rank per stage, DualPipe has two";
  if (s.sharding == Sharding::kOptimizer) {
    return "torchtitan shares out weights and gradients with the optimizer's states (FSDP), not the states alone";
  }
  if (s.sharding == Sharding::kNone && s.data * s.context > 1) {
    if (s.context > 1) return "torchtitan shares out weights over the context axis (FSDP): sharding is none";
    if (s.tensor * s.pipeline * s.expert > 1) {
      return "torchtitan keeps whole copies of the weights (DDP) without any other axis only: sharding is none";
    }
  }
  if (std::string why = why_kept_not_torchtitan(s); !why.empty()) return why;
  if (s.expert_tensor > 1) {
    return fmt::format("expert_tensor is {}, torchtitan splits no expert", s.expert_tensor);
  }
  if (s.schedule == PipelineKind::kInterleaved) {
    // ScheduleInterleaved1F1B of PyTorch: rounds of equally many microbatches.
    const std::int64_t count = strategy::microbatches(run, s);
    const std::int64_t rounds = std::max<std::int64_t>(1, count / s.pipeline);
    if (count % rounds != 0) {
      return fmt::format("{} microbatches do not fill {} equal rounds, as PyTorch's Interleaved1F1B needs", count,
                         rounds);
    }
  }
  if (s.context > 1 && run.sequence % (2 * std::int64_t{s.context}) != 0) {
    return fmt::format("{} tokens are no multiple of 2 x context {}, as torchtitan's balancer needs", run.sequence,
                       s.context);
  }
  if (run.precision == Precision::kFp8) {
    return "torchtitan sets fp8 where a model is registered, not in a run: precision is fp8";
  }
  return {};
}

/// Of `whole` in so many parts, as even as can be, the first having the more.
std::uint32_t part_of_whole(std::uint32_t whole, std::uint32_t parts, std::uint32_t index) {
  return whole / parts + (index < whole % parts ? 1 : 0);
}

}  // namespace

std::string why_no_whole_batch(const TrainingRun& run, const Strategy& s) {
  const std::int64_t round = std::int64_t{s.data} * s.micro_batch;
  if (run.global_batch % round == 0) return {};
  return fmt::format("a batch of {} is no multiple of data {} x microbatch {}", run.global_batch, s.data,
                     s.micro_batch);
}

std::string why_inexpressible(Target target, const ModelDescription& model, const TrainingRun& run,
                              const Strategy& strategy) {
  if (target == Target::kAny) return {};
  if (strategy.component) {
    return fmt::format("component \"{}\" has a mesh of its own, {} has one mesh for a model", strategy.component->name,
                       target == Target::kMegatron ? "Megatron-LM" : "torchtitan");
  }
  if (std::string why = why_no_whole_batch(run, strategy); !why.empty()) return why;
  if (std::string why = why_no_chain(model); !why.empty()) return why;
  return target == Target::kMegatron ? why_not_megatron(model, run, strategy)
                                     : why_not_torchtitan(model, run, strategy);
}

std::string why_untrainable(Target target, const ModelDescription& model, const Machines& machines,
                            const TrainingRun& run, const Strategy& strategy) {
  std::string why = why_impossible(model, machines, run, strategy);
  if (why.empty()) why = why_no_whole_batch(run, strategy);
  if (why.empty()) why = why_inexpressible(target, model, run, strategy);
  return why;
}

namespace strategy {

std::string why_not_offloaded(Target target, const ModelDescription& model, ModuleSet modules) {
  if (target == Target::kAny) return {};
  if (target == Target::kTorchtitan) return "torchtitan keeps activations on the device";
  // What its fine-grained offloading has names for: norms, queries to values, attention, and all of experts.
  const auto stays = [&](const LayerRun& run) { return !run.experts && run.mlp.width > 0; };
  if (std::ranges::any_of(model.layers, stays) && !modules.has(LayerModule::kPerceptron)) {
    return "Megatron-LM moves nothing of a dense perceptron to the host, unless it is made again (module mlp)";
  }
  return {};
}

std::vector<std::uint32_t> layers_of_chunks(const Strategy& s, std::uint32_t rank, std::uint32_t layers) {
  std::vector<std::uint32_t> result;
  for (std::uint32_t chunk = 0; chunk < s.chunks; ++chunk) result.push_back(part_of_whole(layers, s.chunks, chunk));
  // A chunk of the first device that has no layer is the one with the embedding.
  if (rank == 0 && layers < s.chunks) std::ranges::reverse(result);
  return result;
}

}  // namespace strategy

namespace {

/// As even as can be, on the stages of each mesh.
std::vector<std::uint32_t> even_by_mesh(const ModelDescription& model, const Strategy& s) {
  std::uint32_t before = 0;
  for (const LayerRun& run : model.layers) {
    if (strategy::has_own_mesh(model, s, run)) before += static_cast<std::uint32_t>(run.count);
  }
  const auto behind = static_cast<std::uint32_t>(model.layer_count()) - before;
  std::vector<std::uint32_t> result;
  for (const auto& [layers, stages] : {std::pair{before, s.first_stage()}, {behind, s.pipeline}}) {
    for (std::uint32_t i = 0; i < stages; ++i) result.push_back(layers / stages + (i < layers % stages ? 1 : 0));
  }
  return result;
}

}  // namespace

std::vector<std::uint32_t> layers_of_stages(const ModelDescription& model, const Strategy& s) {
  if (s.component) return s.layers_per_stage.empty() ? even_by_mesh(model, s) : s.layers_per_stage;
  const std::uint32_t stages = s.pipeline * s.chunks;
  std::vector<std::uint32_t> result;
  const auto layers = static_cast<std::uint32_t>(model.layer_count());
  for (std::uint32_t stage = 0; stage < stages; ++stage) {
    if (s.layers_per_stage.empty()) {
      result.push_back(part_of_whole(layers, stages, stage));
      continue;
    }
    const std::uint32_t rank = stage % s.pipeline;
    result.push_back(strategy::layers_of_chunks(s, rank, s.layers_per_stage[rank])[stage / s.pipeline]);
  }
  // Where the last two stages would have fewer, the embedding's has and the head's.
  if (s.layers_per_stage.empty() && stages > 2 && layers % stages == stages - 2) {
    --result.front();
    ++result[stages - 2];
  }
  return result;
}

}  // namespace opweave
