// Which degrees fit each other, the model, the machines and the batch.
#include <fmt/format.h>

#include <numeric>

#include "opweave/strategy.h"

namespace opweave {
namespace {

std::string indivisible(std::string_view what, std::int64_t whole, std::string_view axis, std::uint32_t parts) {
  return fmt::format("{} {} cannot be split by {} {}", whole, what, axis, parts);
}

std::string why_layers_do_not_fit(const ModelDescription& model, const Strategy& strategy) {
  const std::int64_t layers = model.layer_count();
  const std::int64_t stages = std::int64_t{strategy.pipeline} * strategy.chunks;
  // Embedding and head may be stages of their own.
  if (stages > layers + 2) {
    return fmt::format("{} stages are more than the {} layers with embedding and head", stages, layers);
  }
  if (strategy.layers_per_stage.empty()) return {};
  if (strategy.layers_per_stage.size() != strategy.pipeline) {
    return fmt::format("layers per stage has {} entries, expected {}", strategy.layers_per_stage.size(),
                       strategy.pipeline);
  }
  const std::int64_t sum =
      std::accumulate(strategy.layers_per_stage.begin(), strategy.layers_per_stage.end(), std::int64_t{0});
  if (sum != layers) return fmt::format("layers per stage sum up to {}, expected {}", sum, layers);
  return {};
}

/// Vectors with an entry per stage, shares, and modules that go with the kind of recomputation.
std::string why_kept_does_not_fit(const Strategy& s) {
  const auto entries = [&](std::string_view what, std::size_t size) -> std::string {
    if (size == 0 || size == s.pipeline) return {};
    return fmt::format("{} per stage has {} entries, expected {}", what, size, s.pipeline);
  };
  if (auto why = entries("recomputed layers", s.recomputed_per_stage.size()); !why.empty()) return why;
  if (auto why = entries("recomputed modules", s.modules_per_stage.size()); !why.empty()) return why;
  if (auto why = entries("offload", s.offload_per_stage.size()); !why.empty()) return why;
  const bool has_modules = !s.recomputed_modules.empty() || !s.modules_per_stage.empty();
  if (s.recompute == Recompute::kNone && has_modules) {
    return "recomputed modules are set, but recompute is none: expected selective";
  }
  if (s.recompute == Recompute::kSelective && !has_modules) {
    return "recompute is selective, but recomputed modules are not set";
  }
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
    if (!run.experts) continue;
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

}  // namespace

std::string why_impossible(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                           const Strategy& strategy) {
  if (strategy.devices() != machines.devices()) {
    return fmt::format("tensor {} x context {} x data {} x pipeline {} = {} devices, the cluster has {}",
                       strategy.tensor, strategy.context, strategy.data, strategy.pipeline, strategy.devices(),
                       machines.devices());
  }
  for (const LayerRun& layers : model.layers) {
    if (layers.attention.heads % strategy.tensor != 0) {
      return indivisible("heads", layers.attention.heads, "tensor", strategy.tensor);
    }
    if (const auto& recurrence = layers.recurrence) {
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
  if (strategy.schedule != PipelineKind::k1F1B && strategy.pipeline == 1) {
    return fmt::format("schedule is {} with pipeline 1, expected 1F1B", to_string(strategy.schedule));
  }
  if (std::string why = why_layers_do_not_fit(model, strategy); !why.empty()) return why;
  if (std::string why = why_kept_does_not_fit(strategy); !why.empty()) return why;
  return why_experts_do_not_fit(model, strategy);
}

}  // namespace opweave
