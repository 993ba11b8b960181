// Which degrees fit each other, the model, the machines and the batch.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "opweave/strategy.h"
#include "opweave/strategy_targets.h"
#include "strategy/modules.h"
#include "strategy/products.h"

namespace opweave {
namespace {

using strategy::has_own_mesh;

std::string indivisible(std::string_view what, std::int64_t whole, std::string_view axis, std::uint32_t parts) {
  return fmt::format("{} {} cannot be split by {} {}", whole, what, axis, parts);
}

/// Layers that lie on the mesh of a component alone.
std::int64_t component_layers(const ModelDescription& model, const Strategy& strategy) {
  std::int64_t layers = 0;
  for (const LayerRun& run : model.layers) {
    if (has_own_mesh(model, strategy, run)) layers += run.count;
  }
  return layers;
}

/// Links of an axis follow from the ranks of a stage (axes.h) where these begin with a node, or divide one.
std::string why_misaligned(const Machines& machines, const Strategy& s) {
  const std::uint64_t per_node = machines.devices_per_node;
  const std::uint64_t before = s.component->devices();
  if (s.devices() <= per_node) return {};
  for (const std::uint32_t tensor : {s.component->tensor, s.tensor}) {
    if (per_node % tensor != 0)
      return fmt::format("tensor {} does not divide the {} devices of a node", tensor, per_node);
  }
  const std::uint64_t ranks = std::uint64_t{s.tensor} * s.context * s.data;
  if (before % per_node == 0 || before % ranks == 0) return {};
  return fmt::format(
      "component \"{}\" has {} devices, expected a multiple of the {} of a node or of the {} of a stage behind it",
      s.component->name, before, per_node, ranks);
}

std::string why_layers_do_not_fit(const ModelDescription& model, const Strategy& strategy) {
  const std::int64_t before = component_layers(model, strategy);
  const std::int64_t layers = model.layer_count() - before;
  const std::int64_t stages = std::int64_t{strategy.pipeline} * strategy.chunks;
  // Embedding and head may be stages of their own.
  if (stages > layers + 2) {
    return fmt::format("{} stages are more than the {} layers with embedding and head", stages, layers);
  }
  if (strategy.layers_per_stage.empty()) return {};
  if (strategy.layers_per_stage.size() != strategy.stages()) {
    return fmt::format("layers per stage has {} entries, expected {}", strategy.layers_per_stage.size(),
                       strategy.stages());
  }
  const auto sum = [&](std::uint32_t begin, std::uint32_t end) {
    const auto first = strategy.layers_per_stage.begin();
    return std::accumulate(first + begin, first + end, std::int64_t{0});
  };
  if (const std::int64_t own = sum(0, strategy.first_stage()); own != before) {
    return fmt::format("layers per stage of component \"{}\" sum up to {}, expected {}", strategy.component->name, own,
                       before);
  }
  const std::int64_t others = sum(strategy.first_stage(), strategy.stages());
  if (others != layers) return fmt::format("layers per stage sum up to {}, expected {}", others, layers);
  return {};
}

/// Numbers of layers that are made again, against those that stages have.
std::string why_not_so_many_again(const ModelDescription& model, const Strategy& s) {
  if (!s.recomputed_layers && s.recomputed_per_stage.empty()) return {};
  if (s.recompute != Recompute::kFull) {
    return fmt::format("a number of layers to make again is set, but recompute is {}: expected full",
                       to_string(s.recompute));
  }
  std::vector<std::uint32_t> layers(s.stages());
  const std::vector<std::uint32_t> by_chunk = layers_of_stages(model, s);
  for (std::size_t i = 0; i < by_chunk.size(); ++i) layers[i % layers.size()] += by_chunk[i];
  if (const std::uint32_t most = std::ranges::max(layers); s.recomputed_layers && *s.recomputed_layers > most) {
    return fmt::format("recomputed layers is {}, but no stage has more than {} layers", *s.recomputed_layers, most);
  }
  for (std::size_t i = 0; i < s.recomputed_per_stage.size(); ++i) {
    if (s.recomputed_per_stage[i] <= layers[i]) continue;
    return fmt::format("recomputed layers of stage {} is {}, but it has {} layers", i, s.recomputed_per_stage[i],
                       layers[i]);
  }
  return {};
}

/// Modules that go with the kind of recomputation, and that the model has.
std::string why_modules_do_not_fit(const ModelDescription& model, const Strategy& s) {
  const bool has_modules = !s.recomputed_modules.empty() || !s.modules_per_stage.empty();
  if (s.recompute == Recompute::kNone && has_modules) {
    return "recomputed modules are set, but recompute is none: expected selective";
  }
  if (s.recompute == Recompute::kSelective && !has_modules) {
    return "recompute is selective, but recomputed modules are not set";
  }
  const bool is_whole = !s.recomputed_layers && s.recomputed_per_stage.empty();
  if (s.recompute == Recompute::kFull && is_whole && has_modules) {
    return "recomputed modules are set, but recompute is full and makes all layers again whole: expected selective, or "
           "a number of recomputed layers";
  }
  std::string why = strategy::why_no_such_module(model, s.recomputed_modules);
  for (const ModuleSet& modules : s.modules_per_stage) {
    if (why.empty()) why = strategy::why_no_such_module(model, modules);
  }
  return why;
}

/// Vectors with an entry per stage, and shares.
std::string why_kept_does_not_fit(const ModelDescription& model, const Strategy& s) {
  const auto entries = [&](std::string_view what, std::size_t size) -> std::string {
    if (size == 0 || size == s.stages()) return {};
    return fmt::format("{} per stage has {} entries, expected {}", what, size, s.stages());
  };
  if (auto why = entries("recomputed layers", s.recomputed_per_stage.size()); !why.empty()) return why;
  if (auto why = entries("recomputed modules", s.modules_per_stage.size()); !why.empty()) return why;
  if (auto why = entries("offload", s.offload_per_stage.size()); !why.empty()) return why;
  if (auto why = why_not_so_many_again(model, s); !why.empty()) return why;
  if (auto why = why_modules_do_not_fit(model, s); !why.empty()) return why;
  const auto is_share = [](double value) { return value >= 0 && value <= 1; };
  for (const double offload : s.offload_per_stage) {
    if (!is_share(offload)) return fmt::format("offload per stage has {}, expected 0 to 1", offload);
  }
  for (const double offload : {s.activation_offload, s.optimizer_offload}) {
    if (!is_share(offload)) return fmt::format("an offload is {}, expected 0 to 1", offload);
  }
  return {};
}

std::string why_experts_do_not_fit(const ModelDescription& model, const Strategy& strategy) {
  bool has_experts = false;
  for (const LayerRun& run : model.layers) {
    if (!run.experts || has_own_mesh(model, strategy, run)) continue;
    has_experts = true;
    if (run.experts->count % strategy.expert != 0) {
      return indivisible("experts", run.experts->count, "expert", strategy.expert);
    }
    if (run.experts->expert.width % strategy.expert_tensor != 0) {
      return indivisible("columns of an expert", run.experts->expert.width, "expert tensor", strategy.expert_tensor);
    }
  }
  if (!has_experts && strategy.expert * strategy.expert_tensor > 1) {
    return fmt::format("expert is {}, but the model has no experts", strategy.expert * strategy.expert_tensor);
  }
  const std::uint64_t stage_ranks = std::uint64_t{strategy.tensor} * strategy.context * strategy.data;
  if (stage_ranks % (std::uint64_t{strategy.expert} * strategy.expert_tensor) != 0) {
    return fmt::format("expert {} x {} does not divide the {} ranks of a stage", strategy.expert,
                       strategy.expert_tensor, stage_ranks);
  }
  return {};
}

/// Heads and columns of a layer over the ranks of a strategy.
std::string why_not_split(const LayerRun& layers, const Strategy& strategy) {
  if (layers.attention.heads % strategy.tensor != 0) {
    return indivisible("heads", layers.attention.heads, "tensor", strategy.tensor);
  }
  if (const auto& recurrence = layers.recurrence) {
    if (recurrence->update == StateUpdate::kAverage && strategy.context > 1) {
      return fmt::format(
          "context is {}, but update \"average\" (RWKV) mixes each token with the one before: expected 1",
          strategy.context);
    }
    const std::int64_t ranks = std::int64_t{strategy.tensor} * strategy.context;
    if (recurrence->heads % ranks != 0) {
      return indivisible("heads of a recurrence", recurrence->heads, "tensor x context",
                         static_cast<std::uint32_t>(ranks));
    }
    if (recurrence->key_heads % strategy.tensor != 0 && strategy.tensor % recurrence->key_heads != 0) {
      return indivisible("key heads of a recurrence", recurrence->key_heads, "tensor", strategy.tensor);
    }
  }
  if (!layers.experts && layers.mlp.width % strategy.tensor != 0) {
    return indivisible("columns of the perceptron", layers.mlp.width, "tensor", strategy.tensor);
  }
  return {};
}

/// A component with a mesh of its own: what holds of no other strategy.
std::string why_component_does_not_fit(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                                       const Strategy& s) {
  const ComponentMesh& mesh = *s.component;
  const auto found = std::ranges::find(model.components, mesh.name, &ModelComponent::name);
  if (found == model.components.end()) {
    return fmt::format("component \"{}\" has a mesh of its own, but the model has no such component", mesh.name);
  }
  // Layers of a component that stand one behind the other, before all others.
  bool has_ended = false;
  for (const LayerRun& layers : model.layers) {
    const bool is_own = has_own_mesh(model, s, layers);
    if (is_own && has_ended) return fmt::format("layers of component \"{}\" are not the first of the model", mesh.name);
    has_ended = has_ended || !is_own;
  }
  const std::int64_t layers = component_layers(model, s);
  if (mesh.pipeline > layers) {
    return fmt::format("component \"{}\": {} stages are more than its {} layers", mesh.name, mesh.pipeline, layers);
  }
  if (s.schedule == PipelineKind::kInterleaved || s.schedule == PipelineKind::kDualPipe) {
    return fmt::format("schedule is {}, expected 1F1B, ZB1P or ZB-2P where a component has a mesh of its own",
                       to_string(s.schedule));
  }
  const std::int64_t rows = std::int64_t{s.data} * s.micro_batch;
  const std::int64_t microbatches = run.global_batch / rows;
  if (s.schedule == PipelineKind::kZeroBubble2 && microbatches < s.stages()) {
    // Its ways leave out how stages then wait for each other, and it has nothing ahead that ZB1P has not.
    return fmt::format(
        "schedule is ZB-2P with {} microbatches for {} stages, expected ZB1P or 1F1B where a component has a mesh of "
        "its own and fewer microbatches than stages",
        microbatches, s.stages());
  }
  if (rows % mesh.data != 0) {
    return fmt::format("component \"{}\": the {} sequences of a microbatch cannot be split by data {}", mesh.name, rows,
                       mesh.data);
  }
  const std::int64_t tokens = found->tokens.value_or(run.sequence);
  const std::int64_t parts = std::int64_t{mesh.context} * (mesh.has_sequence_parallelism ? mesh.tensor : 1);
  if (tokens % parts != 0) {
    return fmt::format("component \"{}\": {} tokens cannot be split by {} {}", mesh.name, tokens,
                       mesh.has_sequence_parallelism ? "tensor x context" : "context", parts);
  }
  return why_misaligned(machines, s);
}

}  // namespace

std::string why_impossible(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                           const Strategy& strategy) {
  if (strategy.devices() != machines.devices()) {
    if (strategy.component) {
      return fmt::format("{} devices of component \"{}\" and {} of the others = {}, the cluster has {}",
                         strategy.component->devices(), strategy.component->name,
                         strategy.devices() - strategy.component->devices(), strategy.devices(), machines.devices());
    }
    return fmt::format("tensor {} x context {} x data {} x pipeline {} = {} devices, the cluster has {}",
                       strategy.tensor, strategy.context, strategy.data, strategy.pipeline, strategy.devices(),
                       machines.devices());
  }
  for (const LayerRun& layers : model.layers) {
    std::string why =
        why_not_split(layers, has_own_mesh(model, strategy, layers) ? strategy.on_component_mesh() : strategy);
    if (!why.empty()) return why;
  }
  if (strategy.has_sequence_parallelism && run.sequence % (std::int64_t{strategy.tensor} * strategy.context) != 0) {
    return indivisible("tokens", run.sequence, "tensor x context", strategy.tensor * strategy.context);
  }
  if (run.sequence % strategy.context != 0) return indivisible("tokens", run.sequence, "context", strategy.context);
  const std::int64_t per_round = std::int64_t{strategy.data} * strategy.micro_batch;
  if (run.global_batch < per_round) {
    return fmt::format("a batch of {} is less than data {} x microbatch {}", run.global_batch, strategy.data,
                       strategy.micro_batch);
  }
  const bool needs_chunks = strategy.schedule == PipelineKind::kInterleaved;
  if (needs_chunks != (strategy.chunks > 1)) {
    return fmt::format("schedule is {} with chunks {}, expected {}", to_string(strategy.schedule), strategy.chunks,
                       needs_chunks ? "at least 2" : "1");
  }
  if (strategy.schedule != PipelineKind::k1F1B && strategy.stages() == 1) {
    return fmt::format("schedule is {} with pipeline 1, expected 1F1B", to_string(strategy.schedule));
  }
  if (strategy.component) {
    std::string why = why_component_does_not_fit(model, machines, run, strategy);
    if (!why.empty()) return why;
  }
  if (std::string why = why_layers_do_not_fit(model, strategy); !why.empty()) return why;
  if (std::string why = why_kept_does_not_fit(model, strategy); !why.empty()) return why;
  return why_experts_do_not_fit(model, strategy);
}

}  // namespace opweave
