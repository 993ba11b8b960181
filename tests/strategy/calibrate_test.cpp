#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "opweave/calibration.h"
#include "opweave/error.h"
#include "opweave/strategy_search.h"

namespace opweave {
namespace {

ModelDescription dense_model(std::int64_t hidden) {
  LayerRun run;
  run.count = 8;
  run.attention = {8, 4, hidden / 8, {}, {}, true};
  run.mlp = {hidden * 4, true};
  ModelDescription model;
  model.hidden = hidden;
  model.vocabulary = 128;
  model.layers = {run};
  return model;
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
      step.model = dense_model(hidden);
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

// One step alone cannot say whether products or collectives are slow; its parts can. The weak pull to usual values
// (0.65, 1) keeps the constants a little off.
TEST(Calibrate, tells_slow_collectives_from_slow_products_by_the_parts_of_one_step) {
  CalibrationProfile truth;
  truth.matrix = 0.6;
  truth.traffic = 1.5;
  truth.communication = 3;
  MeasuredStep step;
  step.id = "one";
  step.profile = "made-up";
  step.model = dense_model(4096);
  step.machines = machines_named("h100");
  step.run = {64, 4096, Precision::kBf16};
  step.strategy.tensor = 8;
  step.strategy.has_sequence_parallelism = true;
  const StepTime time = evaluate(step.model, step.machines, step.run, step.strategy, truth).time;
  step.measured = time.step;
  const auto fitted = [&] {
    std::vector<CalibrationProfile> profiles;
    (void)cross_validate(std::vector{step}, profiles);
    return profiles.front();
  };
  EXPECT_GT(std::abs(std::log(fitted().communication / truth.communication)), std::log(1.2));
  step.parts = parts_of(time);
  step.parts.expert.reset();
  step.parts.data.reset();  // there is no such axis
  EXPECT_EQ(*step.parts.compute, time.matrix + time.attention + time.traffic + time.recompute);
  EXPECT_NEAR(fitted().communication, truth.communication, 0.15);
  EXPECT_NEAR(fitted().matrix, truth.matrix, 0.05);
}

TEST(Calibrate, refuses_parts_that_a_step_cannot_have) {
  const auto message = [](const std::string& parts, const std::string& measured) {
    const std::string json = R"({"format": "opweave.measured-steps", "version": 1, "steps": [{"id": "one",
      "profile": "mine", "model": {"hidden": 1024, "vocabulary": 32000, "layers": [{"count": 8,
      "attention": {"heads": 8, "head_dim": 128}, "mlp": {"width": 4096}}]}, "machines": {"device": "H100"},
      "run": {"global_batch": 64, "sequence": 2048}, "strategy": {"data": 8})" +
                             measured + R"(, "parts_ns": )" + parts + "}]}";
    try {
      (void)parse_measured_steps(json, "s");
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const std::string measured = R"(, "measured_ns": 1000)";
  EXPECT_EQ(message(R"({"compute": 700, "data": 300})", measured), "");
  EXPECT_EQ(message(R"({"compute": 700, "data": 301})", measured),
            "s: /steps/0/parts_ns: the parts take 1001 ns, expected at most the 1000 of measured_ns");
  EXPECT_EQ(message(R"({"tensor": 5})", measured),
            "s: /steps/0/parts_ns/tensor: the strategy has no such part, as tensor x context is 1");
  EXPECT_EQ(message(R"({"compute": 5})", ""),
            "s: /steps/0/parts_ns: the step has no measured_ns, expected the time that these are parts of");
  EXPECT_NE(message(R"({"bubble": 5})", measured).find("bubble"), std::string::npos);
  EXPECT_NE(message(R"({"compute": 0})", measured).find("value is 0"), std::string::npos);
}

}  // namespace
}  // namespace opweave
