// The search over pairs of meshes, against the enumeration of everything.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <random>

#include "opweave/error.h"
#include "opweave/strategy_search.h"
#include "strategy/towers.h"

namespace opweave {
namespace {

/// The best over all pairs of meshes, by nested loops that know nothing of the search.
class MeshEnumeration {
 public:
  MeshEnumeration(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                  const HeldDecisions& held)
      : model_(model), machines_(machines), run_(run), held_(held) {}

  std::optional<Duration> best() {
    const auto ranks = static_cast<std::uint32_t>(machines_.devices());
    for_degrees(ranks, [&](std::uint32_t tensor, std::uint32_t context, std::uint32_t data, std::uint32_t pipeline) {
      Strategy s;
      s.tensor = tensor;
      s.has_sequence_parallelism = tensor > 1;
      s.context = context;
      s.data = data;
      s.pipeline = pipeline;
      if (held_.pipeline && pipeline != *held_.pipeline) return;
      if (pipeline > model_.layers[1].count || (context > 1 && run_.sequence / context < 1024)) return;
      for_degrees(ranks, [&](std::uint32_t own_tensor, std::uint32_t own_context, std::uint32_t own_data,
                             std::uint32_t own_pipeline) {
        const std::uint32_t before = own_tensor * own_context * own_data * own_pipeline;
        if (before + tensor * context * data * pipeline != ranks || 2 * before > ranks) return;
        if (held_.component->pipeline && own_pipeline != *held_.component->pipeline) return;
        if (own_data != data && own_tensor * own_context * own_data != tensor * context * data) return;
        const std::int64_t tokens = *model_.components.front().tokens;
        if (own_context > 1 && tokens / own_context < 1024) return;
        const bool splits = own_tensor > 1 && tokens % (std::int64_t{own_tensor} * own_context) == 0;
        s.component = ComponentMesh{"tower", own_tensor, splits, own_context, own_data, own_pipeline};
        microbatches(s);
      });
    });
    return best_;
  }

 private:
  template <class Visit>
  void for_degrees(std::uint32_t most, const Visit& visit) const {
    for (std::uint32_t tensor = 1; tensor <= machines_.devices_per_node; ++tensor) {
      if (machines_.devices_per_node % tensor != 0) continue;
      for (std::uint32_t context = 1; tensor * context <= most; ++context) {
        for (std::uint32_t data = 1; tensor * context * data <= most; ++data) {
          for (std::uint32_t stages = 1; tensor * context * data * stages <= most; ++stages) {
            visit(tensor, context, data, stages);
          }
        }
      }
    }
  }

  void microbatches(Strategy s) {
    for (s.micro_batch = 1; s.micro_batch <= 32; s.micro_batch *= 2) {
      if (held_.micro_batch && s.micro_batch != *held_.micro_batch) continue;
      if (run_.global_batch % (std::int64_t{s.data} * s.micro_batch) != 0) continue;
      const bool has_copies = s.data * s.context > 1 || s.component->data * s.component->context > 1;
      for (const Sharding sharding : {Sharding::kNone, Sharding::kOptimizer, Sharding::kWeights}) {
        if ((sharding == Sharding::kNone) == has_copies) continue;
        s.sharding = sharding;
        s.schedule = PipelineKind::k1F1B;
        if (!why_impossible(model_, machines_, run_, s).empty()) continue;
        for (int code = 0; code < 6; ++code) {
          const bool overlaps = code >= 3;
          if (overlaps && s.tensor == 1 && !s.component->has_sequence_parallelism) continue;
          s.schedule =
              std::array{PipelineKind::k1F1B, PipelineKind::kZeroBubble1, PipelineKind::kZeroBubble2}[code % 3];
          s.overlaps_tensor = overlaps;
          layouts(s, 0);
        }
      }
    }
  }

  /// Layers of every stage: at least one, but none where the embedding or the head is not alone on its mesh.
  void layouts(Strategy& s, std::uint32_t stage) {
    const bool is_own = stage < s.component->pipeline;
    if (stage == s.stages()) {
      if (!why_impossible(model_, machines_, run_, s).empty()) return;
      std::vector<double> shares = {0, 0.5, 1};
      if (held_.optimizer_offload) shares = {*held_.optimizer_offload};
      for (const double share : shares) {
        s.optimizer_offload = share;
        s.recomputed_per_stage.assign(s.stages(), 0);
        s.modules_per_stage.assign(s.stages(), {});
        s.offload_per_stage.assign(s.stages(), 0);
        kept(s, 0);
      }
      s.recompute = Recompute::kNone;
      s.recomputed_per_stage.clear();
      s.modules_per_stage.clear();
      s.offload_per_stage.clear();
      return;
    }
    const bool has_table = s.pipeline > 1 && (stage == s.component->pipeline || stage + 1 == s.stages());
    for (std::uint32_t layers = has_table ? 0 : 1; layers <= model_.layers[is_own ? 0 : 1].count; ++layers) {
      s.layers_per_stage.push_back(layers);
      layouts(s, stage + 1);
      s.layers_per_stage.pop_back();
    }
  }

  void kept(Strategy& s, std::uint32_t stage) {
    if (stage == s.stages()) {
      const bool has_whole = std::ranges::any_of(s.recomputed_per_stage, [](std::uint32_t count) { return count > 0; });
      const bool has_modules =
          std::ranges::any_of(s.modules_per_stage, [](const ModuleSet& modules) { return !modules.empty(); });
      s.recompute = has_whole ? Recompute::kFull : has_modules ? Recompute::kSelective : Recompute::kNone;
      const StrategyValue value = evaluate(model_, machines_, run_, s, {});
      if (value.fits && (!best_ || value.time.step < *best_)) best_ = value.time.step;
      return;
    }
    std::vector<ModuleSet> sets = {{}};
    if (!held_.modules) sets = {{}, {LayerModule::kPerceptron}, {LayerModule::kAlternateProducts}};
    std::vector<double> offloads = {0};
    if (!held_.activation_offload) offloads = {0, 0.25, 0.5, 0.75, 1};
    for (std::uint32_t count = 0; count <= s.layers_per_stage[stage]; ++count) {
      s.recomputed_per_stage[stage] = count;
      for (const ModuleSet set : sets) {
        s.modules_per_stage[stage] = set;
        for (const double offload : offloads) {
          s.offload_per_stage[stage] = offload;
          kept(s, stage + 1);
        }
      }
    }
  }

  const ModelDescription& model_;
  const Machines& machines_;
  const TrainingRun& run_;
  const HeldDecisions& held_;
  std::optional<Duration> best_;
};

std::optional<Duration> enumerated(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                                   const HeldDecisions& held) {
  return MeshEnumeration(model, machines, run, held).best();
}

TEST(ComponentMeshSearch, equals_the_enumeration_of_everything_and_bounds_are_never_above) {
  std::mt19937 random(7);
  int without_any = 0;
  int unlike = 0;
  int with_recompute = 0;
  int with_offload = 0;
  int over_nodes = 0;
  int with_zero_bubble = 0;
  const char* wanted = std::getenv("OPWEAVE_RANDOM_INSTANCES");
  const int count = wanted != nullptr ? std::atoi(wanted) : 60;
  for (int i = 0; i < count; ++i) {
    Machines machines = machines_named("h100");
    machines.devices_per_node = std::array{2U, 3U, 4U, 4U, 6U, 8U, 2U, 4U}[random() % 8];
    if (machines.devices_per_node <= 3) machines.nodes = 1 + static_cast<std::uint32_t>(random() % 2);
    ModelDescription model = model_with_tower(1 + static_cast<std::int64_t>(random() % 2),
                                              1 + static_cast<std::int64_t>(random() % 4), i % 3 == 1);
    if (i % 4 == 2) model.components.front().tokens = 577;
    if (i % 5 == 2) model.components.front().tokens = 2048;
    if (i % 4 == 3) model.vocabulary = 16 * model.hidden;
    const TrainingRun run{24, 2048 << (i % 3), Precision::kBf16};
    HeldDecisions held;
    held.component = HeldComponent{"tower", true, {}, {}, {}, {}};
    held.micro_batch = 1 << (random() % 3);
    held.optimizer_offload = i % 3 == 1 ? 0.5 : 0;
    // All decisions on what is kept at once where there are few stages, else one kind of them.
    if (machines.devices() > 3) {
      if (i % 3 != 2) held.modules = ModuleSet();
      if (i % 3 != 1) held.activation_offload = 0;
      if (i % 3 != 0) held.pipeline = 1 + random() % 2;
    } else {
      held.optimizer_offload.reset();
    }
    if (i % 3 != 0) held.component->pipeline = 1;
    machines.device.host_bandwidth = std::array{5e9, 50e9, 500e9}[random() % 3];
    machines.device.memory = Bytes(1);
    std::optional<StrategySearchResult> nothing_fits;
    try {
      nothing_fits = search_strategies(model, machines, run, {}, Target::kAny, held, 1);
    } catch (const InputError&) {
      // No pair of meshes on so few devices.
      machines.device.memory = Bytes(std::int64_t{1} << 60);
      EXPECT_FALSE(enumerated(model, machines, run, held)) << i;
      ++without_any;
      continue;
    }
    const std::int64_t least = nothing_fits->least_memory->value.memory.total().value();
    machines.device.memory = Bytes(least * static_cast<std::int64_t>(18 + random() % 14) / 20);
    const auto expected = enumerated(model, machines, run, held);
    const auto result = search_strategies(model, machines, run, {}, Target::kAny, held, 1 + random() % 5);
    EXPECT_TRUE(result.is_complete);
    ASSERT_EQ(!result.ranked.empty(), expected.has_value()) << i;
    if (!expected) {
      ++without_any;
      continue;
    }
    const Strategy& best = result.ranked.front().strategy;
    EXPECT_NEAR(static_cast<double>(result.ranked.front().value.time.step.value()),
                static_cast<double>(expected->value()), 10)
        << i;
    EXPECT_EQ(why_impossible(model, machines, run, best), "") << i;
    EXPECT_TRUE(result.ranked.front().value.fits) << i;
    EXPECT_LE(result.bound, *expected) << i;
    EXPECT_GE(static_cast<double>(result.bound.value()), 0.999999 * static_cast<double>(expected->value())) << i;
    ASSERT_TRUE(best.component.has_value());
    unlike += best.component->tensor != best.tensor || best.component->data != best.data ? 1 : 0;
    with_recompute += best.recompute != Recompute::kNone ? 1 : 0;
    const auto is_offloaded = [](double share) { return share > 0; };
    with_offload += best.activation_offload > 0 || std::ranges::any_of(best.offload_per_stage, is_offloaded) ? 1 : 0;
    with_zero_bubble += best.schedule == PipelineKind::k1F1B ? 0 : 1;
    over_nodes += machines.nodes > 1 ? 1 : 0;
  }
  EXPECT_GT(unlike, 0);
  EXPECT_GT(with_recompute, 0);
  EXPECT_GT(with_offload, 0);
  EXPECT_GT(over_nodes, 0);
  EXPECT_GT(with_zero_bubble, 0);
  EXPECT_GT(without_any, 0);
}

TEST(ComponentMeshSearch, looks_at_both_kinds_of_meshes) {
  Machines machines = machines_named("h100");
  int own = 0;
  for (int i = 0; i < 6; ++i) {
    ModelDescription model = model_with_tower(8, 8, i % 2 == 1);
    // Few short sequences, and eleven heads: on the shared mesh no layer can be split.
    const TrainingRun run{i < 2 ? 64 : 2, i < 2 ? 4096 : 1024, Precision::kBf16};
    if (i >= 2) model.layers.front().attention.heads = model.layers.front().attention.kv_heads = 11;
    if (i >= 4) machines.device.memory = Bytes(12'000'000'000);
    const auto best_with = [&](std::string_view kind) {
      HeldDecisions held;
      if (!kind.empty()) hold(held, "tower.mesh", kind);
      const auto result = search_strategies(model, machines, run, {}, Target::kAny, held, 1);
      return result.ranked.empty() ? std::nullopt : std::optional(result.ranked.front());
    };
    const auto any = best_with("");
    const auto with = best_with("own");
    const auto without = best_with("shared");
    ASSERT_TRUE(any && with);
    ASSERT_TRUE(with->strategy.component.has_value());
    EXPECT_EQ(any->value.time.step,
              without ? std::min(with->value.time.step, without->value.time.step) : with->value.time.step);
    EXPECT_EQ(any->strategy.component.has_value(), !without || with->value.time.step < without->value.time.step);
    own += any->strategy.component ? 1 : 0;
  }
  EXPECT_GT(own, 0);
}

TEST(ComponentMeshSearch, holds_degrees_by_the_name_of_the_component) {
  const ModelDescription model = model_with_tower(4, 8, false);
  const TrainingRun run{64, 4096, Precision::kBf16};
  HeldDecisions held;
  hold(held, "tower.tp", "1");
  hold(held, "tower.dp", "4");
  hold(held, "tp", "2");
  const auto result = search_strategies(model, machines_named("h100"), run, {}, Target::kAny, held, 20);
  ASSERT_FALSE(result.ranked.empty());
  for (const RankedStrategy& ranked : result.ranked) {
    ASSERT_TRUE(ranked.strategy.component.has_value());
    EXPECT_EQ(ranked.strategy.component->tensor, 1U);
    EXPECT_EQ(ranked.strategy.component->data, 4U);
    EXPECT_EQ(ranked.strategy.tensor, 2U);
  }
  const auto refused = [&](const HeldDecisions& decisions, Target target, std::string_view expected) {
    try {
      (void)search_strategies(model, machines_named("h100"), run, {}, target, decisions, 1);
      FAIL() << expected;
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(expected), std::string::npos) << error.what();
    }
  };
  HeldDecisions own;
  hold(own, "tower.mesh", "own");
  refused(own, Target::kMegatron, "component \"tower\" has a mesh of its own, Megatron-LM has one mesh for a model");
  HeldDecisions other;
  hold(other, "ear.tp", "1");
  refused(other, Target::kAny,
          "component \"ear\" has no mesh of its own, expected \"tower\", whose layers are the first");
  EXPECT_THROW(hold(held, "ear.tp", "1"), InputError);
  EXPECT_THROW(hold(held, "tower.mesh", "shared"), InputError);
  EXPECT_THROW(hold(other, "ear.ep", "1"), InputError);
  EXPECT_THROW(hold(other, "ear.mesh", "mine"), InputError);
}

}  // namespace
}  // namespace opweave
