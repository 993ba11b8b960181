#include "opweave/strategy_search.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "opweave/calibration.h"
#include "opweave/error.h"

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

/// The best over all strategies of the space, by nested loops that know nothing of the search.
std::optional<Duration> enumerate(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                                  const CalibrationProfile& profile) {
  std::optional<Duration> best;
  const auto ranks = static_cast<std::uint32_t>(machines.devices());
  for (std::uint32_t code = 0; code < ranks * ranks * ranks * ranks; ++code) {
    Strategy s;
    s.tensor = code % ranks + 1;
    s.context = code / ranks % ranks + 1;
    s.pipeline = code / ranks / ranks % ranks + 1;
    s.expert = code / ranks / ranks / ranks + 1;
    s.has_sequence_parallelism = s.tensor > 1;
    const std::uint32_t others = s.tensor * s.context * s.pipeline;
    if (ranks % others != 0 || (s.context > 1 && run.sequence / s.context < 1024)) continue;
    s.data = ranks / others;
    for (s.micro_batch = 1; s.micro_batch <= 32; s.micro_batch *= 2) {
      const std::int64_t round = std::int64_t{s.data} * s.micro_batch;
      if (run.global_batch % round != 0) continue;
      for (const PipelineKind kind :
           {PipelineKind::k1F1B, PipelineKind::kInterleaved, PipelineKind::kZeroBubble1, PipelineKind::kZeroBubble2}) {
        const bool has_chunks = kind == PipelineKind::kInterleaved;
        if (has_chunks && run.global_batch / round % s.pipeline != 0) continue;
        for (std::uint32_t chunks = has_chunks ? 2 : 1; chunks <= (has_chunks ? 12U : 1U); ++chunks) {
          s.schedule = kind;
          s.chunks = chunks;
          for (const Sharding sharding : {Sharding::kNone, Sharding::kOptimizer, Sharding::kWeights}) {
            if ((sharding == Sharding::kNone) != (s.data * s.context == 1)) continue;
            s.sharding = sharding;
            for (std::uint32_t made_again = 0; made_again <= 7; ++made_again) {
              s.recompute = made_again == 0 ? Recompute::kNone : Recompute::kFull;
              s.recomputed_layers = made_again == 0 ? std::nullopt : std::optional(made_again);
              if (!why_impossible(model, machines, run, s).empty()) continue;
              const StrategyValue value = evaluate(model, machines, run, s, profile);
              if (value.fits && (!best || value.time.step < *best)) best = value.time.step;
            }
          }
        }
      }
    }
  }
  return best;
}

TEST(StrategySearch, finds_the_best_of_the_space) {
  int with_recompute = 0;
  int without_any = 0;
  for (int i = 0; i < 36; ++i) {
    Machines machines = machines_named("h100");
    machines.devices_per_node = i % 3 == 0 ? 8 : static_cast<std::uint32_t>(i % 3);
    const ModelDescription model = model_of(3 + i % 4, 512 << (i % 3), i % 2 == 1);
    const TrainingRun run{16, 16384 << (i % 2), Precision::kBf16};
    const CalibrationProfile profile;
    // From less than any strategy needs to twice the least.
    machines.device.memory = Bytes(1);
    const auto nothing_fits = search_strategies(model, machines, run, profile, Target::kAny, {}, 5);
    EXPECT_TRUE(nothing_fits.ranked.empty());
    machines.device.memory = Bytes(nothing_fits.least_memory->value.memory.total().value() * (9 + 2 * (i % 6)) / 10);
    const auto expected = enumerate(model, machines, run, profile);
    const auto result = search_strategies(model, machines, run, profile, Target::kAny, {}, 5);
    EXPECT_TRUE(result.is_complete);
    ASSERT_EQ(!result.ranked.empty(), expected.has_value()) << i;
    if (!expected) {
      ++without_any;
      EXPECT_GT(result.least_memory->value.memory.total(), machines.device.memory);
      continue;
    }
    EXPECT_EQ(result.ranked.front().value.time.step, *expected) << i;
    EXPECT_TRUE(std::ranges::is_sorted(result.ranked, {}, [](const auto& r) { return r.value.time.step; }));
    with_recompute += result.ranked.front().strategy.recompute == Recompute::kFull ? 1 : 0;
  }
  EXPECT_GT(with_recompute, 0);
  EXPECT_GT(without_any, 0);
}

TEST(StrategySearch, holds_what_is_held_and_keeps_to_what_the_target_can_say) {
  const ModelDescription model = model_of(8, 1024, false);
  const TrainingRun run{64, 2048, Precision::kBf16};
  HeldDecisions held;
  held.tensor = 2;
  held.micro_batch = 2;
  const auto result = search_strategies(model, machines_named("h100"), run, {}, Target::kMegatron, held, 100);
  ASSERT_FALSE(result.ranked.empty());
  for (const auto& [strategy, value] : result.ranked) {
    EXPECT_EQ(strategy.tensor, 2U);
    EXPECT_EQ(strategy.micro_batch, 2U);
    EXPECT_NE(strategy.sharding, Sharding::kWeights);
    EXPECT_TRUE(strategy.schedule == PipelineKind::k1F1B || strategy.schedule == PipelineKind::kInterleaved);
  }
  held.tensor = 3;
  EXPECT_THROW((void)search_strategies(model, machines_named("h100"), run, {}, Target::kAny, held, 5), InputError);
}

TEST(Calibrate, finds_the_constants_that_made_the_steps) {
  CalibrationProfile truth;
  truth.matrix = 0.55;
  truth.traffic = 2.5;
  truth.communication = 0.6;
  std::vector<MeasuredStep> steps;
  for (const std::uint32_t tensor : {1U, 2U, 4U, 8U}) {
    for (const std::int64_t hidden : {1024, 2048, 4096}) {
      MeasuredStep step;
      step.id = std::to_string(tensor) + "-" + std::to_string(hidden);
      step.group = std::to_string(hidden);
      step.profile = "made-up";
      step.model = model_of(8, hidden, false);
      step.machines = machines_named("h100");
      step.run = {64, 4096, Precision::kBf16};
      step.strategy.tensor = tensor;
      step.strategy.has_sequence_parallelism = tensor > 1;
      step.strategy.data = 8 / tensor;
      step.measured = evaluate(step.model, step.machines, step.run, step.strategy, truth).time.step;
      steps.push_back(step);
    }
  }
  steps.push_back(steps.front());
  steps.back().measured.reset();  // predicted, and not fitted
  std::vector<CalibrationProfile> profiles;
  const auto predictions = cross_validate(steps, profiles);
  ASSERT_EQ(profiles.size(), 1U);
  ASSERT_EQ(predictions.size(), steps.size());
  const CalibrationProfile& found = profiles.front();
  EXPECT_NEAR(found.matrix, truth.matrix, 0.05);
  EXPECT_NEAR(found.traffic, truth.traffic, 0.5);
  EXPECT_NEAR(found.communication, truth.communication, 0.1);
  EXPECT_LT(found.median_error, 0.01);
  EXPECT_EQ(found.steps, 12);
  EXPECT_EQ(predictions.back().value.time.step, predictions.front().value.time.step);
  for (const StepPrediction& prediction : predictions) EXPECT_LT(std::abs(prediction.error_left_out), 0.05);
}

}  // namespace
}  // namespace opweave
