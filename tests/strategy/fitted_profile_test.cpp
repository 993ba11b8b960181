#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "opweave/calibration.h"
#include "opweave/error.h"
#include "opweave/strategy_record.h"
#include "opweave/sweep.h"

namespace opweave {
namespace {

/// A profile whose every member differs from its default.
FittedProfile unusual_profile() {
  FittedProfile profile;
  profile.device = "H100";
  profile.precision = Precision::kFp8;
  profile.has_experts = true;
  profile.has_recurrences = true;
  CalibrationProfile& c = profile.constants;
  c.name = "mine \"of\" 2026";
  c.matrix = 0.1 + 0.2;  // no short decimal
  c.traffic = 1.0 / 3;
  c.communication = 2.718281828459045;
  c.attention_forward = 0.31;
  c.attention_backward = 0.29;
  c.has_fused_attention = c.has_fused_norms = c.has_split_loss = c.gathers_again = c.keeps_fp8 = false;
  c.keeps_expert_outputs = true;
  c.gradient_bytes = Bytes(2);
  c.logit_bytes = Bytes(12);
  c.reserve = Bytes(123'456'789);
  c.launches = Duration(77'000);
  c.pads_vocabulary = c.balances_context = false;
  c.steps = 7;
  c.median_error = 0.0123;
  c.ninetieth_error = 0.0456;
  c.peaks = 3;
  c.is_own = true;
  return profile;
}

ModelDescription small_model(bool has_experts) {
  LayerRun run;
  run.count = 8;
  run.attention = {8, 8, 128, {}, {}, true};
  run.mlp = {4096, true};
  if (has_experts) run.experts = Experts{8, 2, {1024, true}, 0};
  ModelDescription model;
  model.hidden = 1024;
  model.vocabulary = 32'000;
  model.layers = {run};
  return model;
}

MeasuredStep step_on(const std::string& device, Precision precision) {
  MeasuredStep step;
  step.id = device + " in " + std::string(to_string(precision));
  step.profile = "mine";
  step.model = small_model(false);
  step.machines = machines_named(device);
  step.run = {64, 2048, precision};
  step.strategy.data = 8;
  step.measured = Duration(120'000'000);
  return step;
}

std::string error_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  const std::size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return at == std::string::npos ? text : text.replace(at, what.size(), by);
}

TEST(FittedProfile, is_read_as_it_was_written) {
  const FittedProfile profile = unusual_profile();
  EXPECT_EQ(parse_profile(profile_to_json(profile), "profile.json"), profile);
}

TEST(FittedProfile, with_a_defect_is_refused_in_one_line) {
  const std::string text = profile_to_json(unusual_profile());
  const auto refusal = [&](const std::string& what, const std::string& by) {
    return error_of([&] { (void)parse_profile(replaced(text, what, by), "profile.json"); });
  };
  EXPECT_EQ(refusal("\"version\": 1", "\"version\": 2").rfind("profile.json: /version: value is 2, expected 1", 0), 0U);
  EXPECT_EQ(refusal("\"fp8\"", "\"int4\""),
            "profile.json: /precision: value is \"int4\", expected \"bf16\" or \"fp8\"");
  EXPECT_EQ(refusal("\"H100\"", "\"H7\"").rfind("profile.json: /device: ", 0), 0U);
  EXPECT_EQ(refusal("\"communication\": 2.718281828459045", "\"communication\": 0")
                .rfind("profile.json: /communication: value is 0, expected", 0),
            0U);
  EXPECT_EQ(refusal("    \"keeps_fp8\": false,\n", "").rfind("profile.json: /kernels: key \"keeps_fp8\" is missing", 0),
            0U);
  EXPECT_EQ(refusal("\"peaks\": 3,", "\"peaks\": 3, \"worst\": 1,").rfind("profile.json: /residuals: ", 0), 0U);
  EXPECT_EQ(refusal("\"median_error\": 0.0123", "\"median_error\": 0.2").rfind("profile.json: /residuals: ", 0), 0U);
}

TEST(FittedProfile, has_the_device_type_and_precision_of_its_steps) {
  const std::vector<MeasuredStep> steps = {step_on("h100", Precision::kFp8)};
  std::vector<CalibrationProfile> profiles;
  (void)cross_validate(steps, profiles);
  const FittedProfile fitted = fitted_profile(steps, profiles.front());
  EXPECT_EQ(fitted.device, "H100");
  EXPECT_EQ(fitted.precision, Precision::kFp8);
  EXPECT_TRUE(fitted.constants.is_own);
  EXPECT_EQ(fitted.constants.steps, 1);
}

TEST(FittedProfile, of_several_device_types_precisions_or_kernels_is_refused) {
  const auto refusal = [](const std::vector<MeasuredStep>& steps) {
    CalibrationProfile profile;
    profile.name = "mine";
    return error_of([&] { (void)fitted_profile(steps, profile); });
  };
  const MeasuredStep first = step_on("h100", Precision::kBf16);
  EXPECT_EQ(
      refusal({first, step_on("a100", Precision::kBf16)}),
      "profile \"mine\": step \"h100 in bf16\" has device type H100 and step \"a100 in bf16\" A100, expected one in "
      "a profile");
  EXPECT_EQ(
      refusal({first, step_on("h100", Precision::kFp8)}),
      "profile \"mine\": step \"h100 in bf16\" has precision bf16 and step \"h100 in fp8\" fp8, expected one in a "
      "profile");
  MeasuredStep unfused = first;
  unfused.kernels.has_fused_attention = false;
  EXPECT_NE(refusal({first, unfused}).find("differ in their kernels"), std::string::npos);
  MeasuredStep planned = first;
  planned.measured.reset();
  EXPECT_EQ(refusal({planned}), "profile \"mine\": no step has measured_ns, expected at least 1");
}

TEST(FittedProfile, is_refused_for_another_device_type_or_precision) {
  const FittedProfile profile = unusual_profile();
  EXPECT_EQ(error_of([&] { require_profile_for(profile, "p: ", machines_named("a100"), Precision::kFp8); }),
            "p: /device: value is \"H100\", expected \"A100\", the device type of the question");
  EXPECT_EQ(error_of([&] { require_profile_for(profile, "p: ", machines_named("h100"), Precision::kBf16); }),
            "p: /precision: value is \"fp8\", expected \"bf16\", the precision of the question");
  EXPECT_EQ(error_of([&] { require_profile_for(profile, "p: ", machines_named("h100"), Precision::kFp8); }), "");
}

TEST(FittedProfile, states_no_error_for_layers_that_none_of_its_steps_had) {
  FittedProfile profile = unusual_profile();
  EXPECT_EQ(profile.constants_for(small_model(true)), profile.constants);
  profile.has_experts = false;
  EXPECT_EQ(profile.constants_for(small_model(false)), profile.constants);
  const CalibrationProfile without = profile.constants_for(small_model(true));
  EXPECT_EQ(without.steps, 0);
  EXPECT_EQ(without.name, profile.constants.name + ", experts uncalibrated");
  EXPECT_EQ(without.matrix, profile.constants.matrix);
}

TEST(FittedProfile, is_kept_in_the_file_of_a_strategy_which_older_readers_refuse) {
  StrategyRecord record{{}, small_model(false), machines_named("h100"), {64, 2048, Precision::kFp8}};
  record.strategy.data = 8;
  const StrategyValue built_in = record.value();
  EXPECT_NE(strategy_record_to_json(record).find("\"version\": 1,"), std::string::npos);
  EXPECT_EQ(parse_profile_of_strategy(strategy_record_to_json(record), "strategy.json"), std::nullopt);
  record.fitted = unusual_profile();
  const std::string text = strategy_record_to_json(record);
  EXPECT_EQ(text.find("\"version\": 2,"), text.find("\"version\""));
  const StrategyRecord read = parse_strategy_record(text, "strategy.json");
  EXPECT_EQ(read, record);
  EXPECT_EQ(read.value().time.step, record.value().time.step);
  EXPECT_NE(read.value().time.step, built_in.time.step);
  EXPECT_EQ(parse_profile_of_strategy(text, "strategy.json"), record.fitted);
  EXPECT_EQ(error_of([&] {
              (void)parse_strategy_record(replaced(text, "\"device\": \"H100\",\n", "\"device\": \"A100\",\n"),
                                          "s.json");
            }),
            "s.json: /for/profile/device: value is \"A100\", expected \"H100\", the device type of the question");
}

TEST(FittedProfile, answers_the_points_of_its_device_type_in_a_sweep) {
  SweepQuestion question;
  question.model = small_model(false);
  question.machines = {machines_named("h100"), machines_named("a100")};
  question.global_batches = {64};
  question.sequences = {2048};
  question.precision = Precision::kFp8;
  const std::string before = question.hash();
  question.add_profile(unusual_profile(), "p.json");
  EXPECT_NE(question.hash(), before);
  EXPECT_EQ(question.profile_of(0), unusual_profile().constants);
  EXPECT_EQ(question.profile_of(1), profile_for(question.model, question.machines[1], Precision::kFp8, Target::kAny));
  EXPECT_EQ(error_of([&] { question.add_profile(unusual_profile(), "q.json"); }),
            "q.json: /device: a second profile of \"H100\", expected one per device type");
  FittedProfile other = unusual_profile();
  other.device = "H200";
  EXPECT_EQ(error_of([&] { question.add_profile(other, "q.json"); }),
            "q.json: /device: value is \"H200\", expected a device type of the sweep");
  other.device = "A100";
  other.precision = Precision::kBf16;
  EXPECT_EQ(error_of([&] { question.add_profile(other, "q.json"); }),
            "q.json: /precision: value is \"bf16\", expected \"fp8\", the precision of the question");
}

}  // namespace
}  // namespace opweave
