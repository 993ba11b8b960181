#include "opweave/strategy_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <limits>
#include <random>

#include "opweave/error.h"
#include "opweave/strategy_targets.h"
#include "strategy/ranking.h"

namespace opweave {
namespace {

ModelDescription model_of(std::int64_t layers, std::int64_t hidden, bool has_experts) {
  ModelDescription model;
  model.hidden = hidden;
  model.vocabulary = 128;
  LayerRun run;
  run.count = layers;
  run.attention = {8, 4, hidden / 8, {}, {}, true};
  if (has_experts) {
    run.experts = Experts{8, 2, {hidden * 2, true}, 0};
  } else {
    run.mlp = {hidden * 4, true};
  }
  model.layers = {run};
  return model;
}

/// Calls visit with every way to write `sum` as numbers of `least` or more, the last of `last` or more.
void for_layouts(std::uint32_t sum, std::uint32_t stages, std::uint32_t least, std::uint32_t last,
                 std::vector<std::uint32_t>& layout, const std::function<void()>& visit) {
  if (stages == 1) {
    if (sum < last) return;
    layout.push_back(sum);
    visit();
    layout.pop_back();
    return;
  }
  for (std::uint32_t first = least; first <= sum; ++first) {
    layout.push_back(first);
    for_layouts(sum - first, stages - 1, least, last, layout, visit);
    layout.pop_back();
  }
}

/// The best over all strategies of the space, by nested loops that know nothing of the search.
class StrategyEnumeration {
 public:
  StrategyEnumeration(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                      const CalibrationProfile& profile, Target target, const HeldDecisions& held)
      : model_(model), machines_(machines), run_(run), profile_(profile), target_(target), held_(held) {}

  std::optional<Duration> best() {
    const auto ranks = static_cast<std::uint32_t>(machines_.devices());
    for (std::uint32_t code = 0; code < ranks * ranks * ranks * ranks; ++code) {
      Strategy s;
      s.tensor = code % ranks + 1;
      s.context = code / ranks % ranks + 1;
      s.pipeline = code / ranks / ranks % ranks + 1;
      s.expert = code / ranks / ranks / ranks + 1;
      s.has_sequence_parallelism = s.tensor > 1;
      if (held_.pipeline && s.pipeline != *held_.pipeline) continue;
      const std::uint32_t others = s.tensor * s.context * s.pipeline;
      if (ranks % others != 0 || (s.context > 1 && run_.sequence / s.context < 1024)) continue;
      s.data = ranks / others;
      for (s.micro_batch = 1; s.micro_batch <= 32; s.micro_batch *= 2) {
        if (held_.micro_batch && s.micro_batch != *held_.micro_batch) continue;
        if (run_.global_batch % (std::int64_t{s.data} * s.micro_batch) == 0) schedules(s);
      }
    }
    return best_;
  }

 private:
  void schedules(Strategy s) {
    for (const PipelineKind kind :
         {PipelineKind::k1F1B, PipelineKind::kInterleaved, PipelineKind::kZeroBubble1, PipelineKind::kZeroBubble2}) {
      const bool is_zero_bubble = kind == PipelineKind::kZeroBubble1 || kind == PipelineKind::kZeroBubble2;
      if (target_ == Target::kMegatron && is_zero_bubble) continue;
      const bool has_chunks = kind == PipelineKind::kInterleaved;
      if (has_chunks && run_.global_batch / (std::int64_t{s.data} * s.micro_batch) % s.pipeline != 0) continue;
      for (std::uint32_t chunks = has_chunks ? 2 : 1; chunks <= (has_chunks ? 12U : 1U); ++chunks) {
        s.schedule = kind;
        s.chunks = chunks;
        for (const Sharding sharding : {Sharding::kNone, Sharding::kOptimizer, Sharding::kWeights}) {
          if ((sharding == Sharding::kNone) != (s.data * s.context == 1)) continue;
          if (target_ == Target::kMegatron && sharding == Sharding::kWeights) continue;
          if (target_ == Target::kTorchtitan && sharding == Sharding::kOptimizer) continue;
          s.sharding = sharding;
          if (!why_impossible(model_, machines_, run_, s).empty()) continue;
          s.overlaps_tensor = false;
          layouts(s);
          s.overlaps_tensor = true;
          if (s.tensor > 1) layouts(s);
        }
      }
    }
  }

  void layouts(Strategy s) {
    std::vector<std::uint32_t> layout;
    const auto sum = static_cast<std::uint32_t>(model_.layer_count());
    const auto visit = [&] {
      s.layers_per_stage = layout;
      recomputation(s);
    };
    if (s.pipeline == 1) return for_layouts(sum, 1, 1, s.chunks, layout, visit);
    // Embedding and head may be chunks of their own.
    for (std::uint32_t first = s.chunks - 1; first <= sum; ++first) {
      layout = {first};
      for_layouts(sum - first, s.pipeline - 1, s.chunks, s.chunks - 1, layout, visit);
    }
  }

  /// All subsets of the modules that Megatron-Core has words for, whether they change anything or not.
  [[nodiscard]] std::vector<ModuleSet> module_sets() const {
    if (held_.modules) return {*held_.modules};
    std::vector<ModuleSet> sets;
    for (std::uint32_t bits = 0; bits < (target_ == Target::kTorchtitan ? 1U : 128U); ++bits) {
      ModuleSet set;
      for (std::uint32_t i = 0; i < 7; ++i) {
        if ((bits >> i & 1U) != 0) set.add(static_cast<LayerModule>(i));
      }
      // What the models of these tests do not have changes nothing.
      if (set.has(LayerModule::kLatentProjections) || set.has(LayerModule::kSharedExperts)) continue;
      if (!has_experts() &&
          (set.has(LayerModule::kExperts) || set.has(LayerModule::kNorms) || set.has(LayerModule::kExpertActivation))) {
        continue;
      }
      if (profile_.has_fused_attention && set.has(LayerModule::kCoreAttention)) continue;
      sets.push_back(set);
    }
    if (target_ != Target::kMegatron) sets.push_back({LayerModule::kAlternateProducts});
    return sets;
  }
  [[nodiscard]] bool has_experts() const { return model_.layers.back().experts.has_value(); }
  [[nodiscard]] std::vector<double> offloads(const std::optional<double>& held, std::vector<double> all) const {
    if (held) return {*held};
    return target_ == Target::kTorchtitan ? std::vector<double>{0} : std::move(all);
  }

  void recomputation(Strategy s) {
    for (const double optimizer : offloads(held_.optimizer_offload, {0, 0.5, 1})) {
      s.optimizer_offload = optimizer;
      if (target_ == Target::kAny) {
        s.recomputed_per_stage.assign(s.pipeline, 0);
        s.modules_per_stage.assign(s.pipeline, {});
        s.offload_per_stage.assign(s.pipeline, 0);
        per_stage(s, 0);
        continue;
      }
      for (const ModuleSet set : module_sets()) {
        for (const double offload : offloads(held_.activation_offload, {0, 0.25, 0.5, 0.75, 1})) {
          s.recomputed_modules = set;
          s.activation_offload = offload;
          s.recompute = set.empty() ? Recompute::kNone : Recompute::kSelective;
          if (why_inexpressible(target_, model_, run_, s).empty()) value(s);
        }
      }
      if (held_.modules.value_or(ModuleSet()).empty() && held_.activation_offload.value_or(0) == 0) whole(s);
    }
  }

  void whole(Strategy s) {
    s.recomputed_modules = {};
    s.activation_offload = 0;
    s.recompute = Recompute::kFull;
    value(s);
    for (std::uint32_t count = s.chunks; count < 7 && target_ == Target::kMegatron; count += s.chunks) {
      s.recomputed_layers = count;
      value(s);
    }
  }

  void per_stage(Strategy& s, std::size_t stage) {
    if (stage == s.pipeline) {
      const bool has_whole = std::ranges::any_of(s.recomputed_per_stage, [](std::uint32_t count) { return count > 0; });
      const bool has_modules =
          std::ranges::any_of(s.modules_per_stage, [](const ModuleSet& modules) { return !modules.empty(); });
      s.recompute = has_whole ? Recompute::kFull : has_modules ? Recompute::kSelective : Recompute::kNone;
      return value(s);
    }
    for (std::uint32_t count = 0; count <= s.layers_per_stage[stage]; ++count) {
      s.recomputed_per_stage[stage] = count;
      for (const ModuleSet set : module_sets()) {
        s.modules_per_stage[stage] = set;
        for (const double offload : offloads(held_.activation_offload, {0, 0.25, 0.5, 0.75, 1})) {
          s.offload_per_stage[stage] = offload;
          per_stage(s, stage + 1);
        }
      }
    }
  }

  void value(const Strategy& s) {
    const StrategyValue value = evaluate(model_, machines_, run_, s, profile_);
    if (value.fits && (!best_ || value.time.step < *best_)) best_ = value.time.step;
  }

  const ModelDescription& model_;
  const Machines& machines_;
  const TrainingRun& run_;
  const CalibrationProfile& profile_;
  Target target_;
  const HeldDecisions& held_;
  std::optional<Duration> best_;
};

struct RandomCase {
  ModelDescription model;
  Machines machines;
  TrainingRun run;
  CalibrationProfile profile;
  Target target;
  HeldDecisions held;
};

/// What the i-th case holds: all decisions on what is kept at once where there are few stages, else one kind of them.
HeldDecisions held_in(int i, const RandomCase& of, std::mt19937& random) {
  HeldDecisions held;
  // Half of them with as many stages as can be: there layouts matter.
  if (i % 2 == 0) {
    held.pipeline = of.machines.devices_per_node;
    while (*held.pipeline > of.model.layer_count() || of.machines.devices_per_node % *held.pipeline != 0) {
      --*held.pipeline;
    }
  }
  if (of.target != Target::kTorchtitan && i % 3 != 0) held.optimizer_offload = i % 3 == 1 ? 0 : 0.5;
  const bool is_free = of.target != Target::kAny || i % 8 == 1;
  if (of.target == Target::kAny && is_free) held.pipeline = 1;
  if (!is_free || i % 4 != 0) held.micro_batch = 1 + random() % 2;
  if (!is_free && i % 3 != 2) held.modules = ModuleSet();
  if (!is_free && i % 3 != 1) held.activation_offload = 0;
  if (!is_free && i % 3 > 0 && held.pipeline.value_or(3) > 2) {
    held.pipeline = of.machines.devices_per_node % 2 == 0 && of.model.layer_count() > 1 ? 2 : 1;
  }
  return held;
}

/// At most 8 devices and 6 layers, with any memory.
RandomCase random_case(int i, std::mt19937& random) {
  Machines machines = machines_named("h100");
  machines.devices_per_node = std::array{1U, 2U, 3U, 4U, 4U, 6U, 2U, 8U}[random() % 8];
  ModelDescription model = model_of(1 + static_cast<std::int64_t>(random() % 5), 512 << (i % 3), i % 2 == 1);
  if (i % 4 == 3) {
    // A first layer of another kind, and a head that weighs as much as a layer.
    LayerRun dense = model_of(1, model.hidden, false).layers.front();
    model.layers.insert(model.layers.begin(), dense);
    model.vocabulary = 16 * model.hidden;
  }
  CalibrationProfile profile;
  profile.has_fused_attention = i % 5 != 0;
  const Target target = std::array{Target::kAny, Target::kMegatron, Target::kAny, Target::kTorchtitan}[random() % 4];
  RandomCase result{
      std::move(model), std::move(machines), {24, 4096 << (i % 3), Precision::kBf16}, std::move(profile), target, {}};
  result.held = held_in(i, result, random);
  result.machines.device.host_bandwidth = std::array{5e9, 50e9, 500e9}[random() % 3];
  return result;
}

TEST(StrategySearch, equals_the_enumeration_of_everything_and_bounds_are_never_above) {
  int with_recompute = 0;
  int uneven = 0;
  int unlike = 0;
  int without_any = 0;
  int with_modules = 0;
  int with_offload = 0;
  int with_optimizer = 0;
  int with_overlap = 0;
  std::mt19937 random(5);
  const char* wanted = std::getenv("OPWEAVE_RANDOM_INSTANCES");
  const int count = wanted != nullptr ? std::atoi(wanted) : 120;
  for (int i = 0; i < count; ++i) {
    auto [model, machines, run, profile, target, held] = random_case(i, random);
    // From less than any strategy needs to twice the least.
    machines.device.memory = Bytes(1);
    const auto nothing_fits = search_strategies(model, machines, run, profile, target, held, 1);
    EXPECT_TRUE(nothing_fits.ranked.empty());
    const std::int64_t least = nothing_fits.least_memory->value.memory.total().value();
    machines.device.memory = Bytes(least * static_cast<std::int64_t>(18 + random() % 14) / 20);
    const auto expected = StrategyEnumeration(model, machines, run, profile, target, held).best();
    const auto result = search_strategies(model, machines, run, profile, target, held, 1 + random() % 5);
    EXPECT_TRUE(result.is_complete);
    ASSERT_EQ(!result.ranked.empty(), expected.has_value()) << i;
    if (!expected) {
      ++without_any;
      continue;
    }
    const Strategy& best = result.ranked.front().strategy;
    // A step is a sum of ten times that are each rounded to a nanosecond.
    EXPECT_NEAR(static_cast<double>(result.ranked.front().value.time.step.value()),
                static_cast<double>(expected->value()), 10)
        << i;
    EXPECT_EQ(why_impossible(model, machines, run, best), "") << i;
    EXPECT_TRUE(result.ranked.front().value.fits) << i;
    EXPECT_LE(result.bound, *expected) << i;
    EXPECT_GE(static_cast<double>(result.bound.value()), 0.999999 * static_cast<double>(expected->value())) << i;
    EXPECT_TRUE(std::ranges::is_sorted(result.ranked, {}, [](const auto& r) { return r.value.time.step; }));
    with_recompute += best.recompute == Recompute::kFull ? 1 : 0;
    with_modules += best.recompute == Recompute::kSelective || !best.recomputed_modules.empty() ? 1 : 0;
    const auto is_offloaded = [](double share) { return share > 0; };
    with_offload += best.activation_offload > 0 || std::ranges::any_of(best.offload_per_stage, is_offloaded) ? 1 : 0;
    with_overlap += best.overlaps_tensor ? 1 : 0;
    with_optimizer += best.optimizer_offload > 0 && !held.optimizer_offload ? 1 : 0;
    unlike += best.recomputed_per_stage.empty() ? 0 : 1;
    const auto [fewest, most] = std::ranges::minmax(best.layers_per_stage);
    uneven += most > fewest + 1 ? 1 : 0;
  }
  EXPECT_GT(with_recompute, 0);
  EXPECT_GT(unlike, 0);
  EXPECT_GT(with_modules, 0);
  EXPECT_GT(with_offload, 0);
  EXPECT_GT(with_optimizer, 0);
  EXPECT_GT(with_overlap, 0);
  EXPECT_GT(uneven, 0);
  EXPECT_GT(without_any, 0);
}

TEST(StrategySearch, parts_of_the_space_together_find_what_one_search_finds_and_prune_for_each_other) {
  std::uint64_t valued_alone = 0;
  std::uint64_t valued_together = 0;
  for (std::size_t i = 0; i < 24; ++i) {
    Machines machines = machines_named("h100");
    machines.nodes = 1 + static_cast<std::uint32_t>(i % 2);
    const ModelDescription model = model_of(4 + static_cast<std::int64_t>(i % 5), 2048, i % 3 == 2);
    const TrainingRun run{48, 4096, Precision::kBf16};
    const std::size_t most = 1 + i % 4;
    const auto whole = search_strategies(model, machines, run, {}, Target::kAny, {}, most);
    for (const bool tells : {false, true}) {
      std::atomic<std::int64_t> cutoff = std::numeric_limits<std::int64_t>::max();
      strategy::Ranking ranking;
      Duration bound{std::numeric_limits<std::int64_t>::max()};
      SearchShare share;
      share.parts = 2 + i % 3;
      if (tells) share.cutoff = &cutoff;
      share.on_found = [&](const RankedStrategy& ranked) {
        ranking.offer(ranked);
        if (const auto last = ranking.last_of(most)) cutoff = last->value();
      };
      for (share.part = 0; share.part < share.parts; ++share.part) {
        const auto part = search_strategies(model, machines, run, {}, Target::kAny, {}, most, {}, {}, share);
        EXPECT_EQ(part.meshes, whole.meshes);
        if (part.bound > Duration(0)) bound = std::min(bound, part.bound);
        (tells ? valued_together : valued_alone) += part.valued;
      }
      const auto found = ranking.first(most);
      // Where some are alike, one search goes on until it has as many lines as were asked for; parts do not.
      std::size_t known = found.size();
      for (const RankedStrategy& one : found) known += one.alike;
      ASSERT_TRUE(found.size() == whole.ranked.size() || (found.size() < whole.ranked.size() && known >= most)) << i;
      for (std::size_t k = 0; k < found.size(); ++k) {
        EXPECT_EQ(found[k].strategy, whole.ranked[k].strategy) << i;
        EXPECT_EQ(found[k].mesh, whole.ranked[k].mesh) << i;
      }
      EXPECT_EQ(bound, whole.bound) << i;
    }
  }
  EXPECT_LT(valued_together, valued_alone);
}

TEST(StrategySearch, a_stopped_search_keeps_its_bound_below_all) {
  const ModelDescription model = model_of(8, 1024, false);
  const TrainingRun run{64, 2048, Precision::kBf16};
  const Machines machines = machines_named("h100");
  const auto whole = search_strategies(model, machines, run, {}, Target::kAny, {}, 3);
  std::atomic<bool> is_over = true;
  Budget budget;
  budget.watch(&is_over);
  const auto stopped = search_strategies(model, machines, run, {}, Target::kAny, {}, 3, budget);
  EXPECT_FALSE(stopped.is_complete);
  EXPECT_LE(stopped.bound, whole.ranked.front().value.time.step);
}

TEST(StrategySearch, holds_what_is_held_and_keeps_to_what_the_target_can_say) {
  const ModelDescription model = model_of(8, 1024, false);
  const TrainingRun run{64, 2048, Precision::kBf16};
  HeldDecisions held;
  held.tensor = 2;
  held.micro_batch = 2;
  const auto result = search_strategies(model, machines_named("h100"), run, {}, Target::kMegatron, held, 100);
  ASSERT_FALSE(result.ranked.empty());
  for (const auto& [strategy, value, mesh, alike] : result.ranked) {
    EXPECT_EQ(strategy.tensor, 2U);
    EXPECT_EQ(strategy.micro_batch, 2U);
    EXPECT_NE(strategy.sharding, Sharding::kWeights);
    EXPECT_TRUE(strategy.schedule == PipelineKind::k1F1B || strategy.schedule == PipelineKind::kInterleaved);
  }
  held.tensor = 3;
  EXPECT_THROW((void)search_strategies(model, machines_named("h100"), run, {}, Target::kAny, held, 5), InputError);
}

}  // namespace
}  // namespace opweave
