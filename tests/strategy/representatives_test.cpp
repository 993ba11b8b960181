#include "opweave/representatives.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "opweave/experts.h"
#include "opweave/problem.h"

namespace opweave {
namespace {

ModelDescription model_of(std::int64_t layers) {
  ModelDescription model;
  model.hidden = 2048;
  model.vocabulary = 4096;
  LayerRun run;
  run.count = layers;
  run.attention = {16, 16, 128, {}, {}, true};
  run.mlp = {8192, true};
  model.layers = {run};
  return model;
}

Strategy pipeline_of(std::uint32_t stages, std::vector<std::uint32_t> layers) {
  Strategy strategy;
  strategy.pipeline = stages;
  strategy.data = 8 / stages;
  strategy.sharding = Sharding::kOptimizer;
  strategy.layers_per_stage = std::move(layers);
  return strategy;
}

/// The published schedule simulated on the representatives, with what is outside of the pipeline.
std::pair<Duration, bool> planned(const Representatives& parts, Expert expert) {
  PipelineSpec spec = parts.spec;
  spec.stage_of_layer = parts.stage_of_layer;
  const Problem problem = Problem::create(build_pipeline(with_joined_stages(spec)), parts.cluster);
  for (const ExpertPlan& plan : expert_plans(problem)) {
    if (plan.expert == expert) return {plan.schedule.makespan(problem) + parts.outside, true};
  }
  return {Duration(0), false};
}

TEST(Representatives, under_1f1b_take_what_the_formulas_say) {
  const TrainingRun run{64, 4096, Precision::kBf16};
  const Machines machines = machines_named("h100");
  for (const std::vector<std::uint32_t>& layers :
       {std::vector<std::uint32_t>{4, 4, 4, 4}, std::vector<std::uint32_t>{5, 5, 4, 2}}) {
    Strategy strategy = pipeline_of(4, layers);
    for (const bool makes_again : {false, true}) {
      if (makes_again) {
        strategy.recompute = Recompute::kFull;
        strategy.recomputed_per_stage = {3, 1, 0, 0};
      }
      const auto value = evaluate(model_of(16), machines, run, strategy, {});
      const Representatives parts = representatives(model_of(16), machines, run, strategy, {});
      const auto [step, is_there] = planned(parts, Expert::k1F1B);
      ASSERT_TRUE(is_there);
      // The formulas take a hop's latency for every microbatch and the average stage; the simulation what is exposed.
      EXPECT_NEAR(static_cast<double>(step.value()) / static_cast<double>(value.time.step.value()), 1, 0.03);
    }
  }
}

TEST(Representatives, a_loop_has_the_layers_of_the_strategys_chunks) {
  Strategy strategy = pipeline_of(2, {7, 9});
  strategy.chunks = 2;
  strategy.schedule = PipelineKind::kInterleaved;
  const TrainingRun run{64, 4096, Precision::kBf16};
  const Representatives parts = representatives(model_of(16), machines_named("h100"), run, strategy, {});
  // 7 layers of the first device in two chunks are 4 and 3, 9 of the other 5 and 4; the head is with the last of them.
  for (const auto& [stage, layers] : {std::pair{0U, 4}, {1U, 5}, {2U, 3}, {3U, 5}}) {
    EXPECT_EQ(std::ranges::count(parts.stage_of_looped_layer, stage), layers);
  }
  EXPECT_TRUE(std::ranges::is_sorted(parts.stage_of_looped_layer));
}

TEST(Representatives, hold_all_bytes_of_the_formulas) {
  const TrainingRun run{64, 4096, Precision::kBf16};
  const Machines machines = machines_named("h100");
  Strategy strategy = pipeline_of(2, {8, 8});
  strategy.recompute = Recompute::kFull;
  strategy.recomputed_per_stage = {8, 0};
  const Representatives parts = representatives(model_of(16), machines, run, strategy, {});
  ASSERT_EQ(parts.spec.layers.size(), 17U);
  Bytes weights;
  for (const Layer& layer : parts.spec.layers) weights = weights + layer.weights;
  // All weights but the last norm: 2 + 4 + 12 / 4 bytes each.
  EXPECT_NEAR(static_cast<double>(weights.value()), 9.0 * static_cast<double>(parameters(model_of(16))), 1e3);
  // Made again: the input is kept, 2 bytes of 2048 for each token, with 10 % lost between blocks; the rest from I to W.
  const double input = 1.1 * 2 * 2048 * 4096;
  EXPECT_NEAR(static_cast<double>(parts.spec.layers.front().activation.value()), input, 2);
  EXPECT_NEAR(static_cast<double>(parts.spec.layers[8].activation.value()),
              input + static_cast<double>(parts.spec.layers.front().weight_gradient_input.value()), 2);
  EXPECT_EQ(parts.spec.layers[8].weight_gradient_input, Bytes(0));
}

}  // namespace
}  // namespace opweave
