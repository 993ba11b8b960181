#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "opweave/error.h"
#include "opweave/experts.h"
#include "support/stage_pipeline.h"

namespace opweave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const StageCosts kTimesWithoutTransfer{Duration(10), Duration(12), Duration(8), Duration(0)};

PipelineSchedule schedule_of(const std::vector<std::string>& rows, std::uint32_t stages, std::uint32_t microbatches) {
  PipelineSchedule schedule;
  schedule.name = "hand";
  schedule.stages = stages;
  schedule.microbatches = microbatches;
  for (const std::string& row : rows) {
    schedule.devices.emplace_back();
    std::istringstream tokens(row);
    for (std::string token; tokens >> token;) schedule.devices.back().push_back(action_from_string(token).value());
  }
  return schedule;
}

/// "stage0.all.F#0@0 ..." per block: operators with their offsets, and the duration.
std::vector<std::string> blocks_of(const Problem& problem, const ExecutionOrder& order, std::size_t device) {
  std::vector<std::string> result;
  for (const Block& block : order.devices.at(device)) {
    std::string text;
    for (std::size_t i = 0; i < block.tasks.size(); ++i) {
      text += problem.task_name(block.tasks[i]) + "@" + std::to_string(block.offsets[i].value()) + " ";
    }
    result.push_back(text + "= " + std::to_string(block.duration.value()));
  }
  return result;
}

std::string error_of(const Problem& problem, const PipelineSchedule& schedule, PairMode pairs = PairMode::kAtomic) {
  try {
    (void)to_order(problem, schedule, pairs);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

Operator plain(std::string name, Phase phase, std::uint32_t stage, std::vector<TensorId> inputs,
               std::vector<TensorId> outputs, std::int64_t ns = 1) {
  Operator op;
  op.name = std::move(name);
  op.phase = phase;
  op.stage = StageId(stage);
  op.inputs = std::move(inputs);
  op.outputs = std::move(outputs);
  op.durations = {{"", Duration(ns)}};
  op.parameters = {ParameterId(stage)};
  return op;
}

Problem problem_of(std::vector<Operator> operators, std::size_t tensors, std::size_t parameters, std::uint32_t devices,
                   Training training = {}) {
  std::vector<Tensor> tensor_list;
  for (std::size_t i = 0; i < tensors; ++i) tensor_list.push_back({"t" + std::to_string(i), Bytes(0), {}, {}});
  std::vector<Parameter> parameter_list;
  for (std::size_t i = 0; i < parameters; ++i) parameter_list.push_back({"p" + std::to_string(i), Bytes(1)});
  return Problem::create(ComputationGraph::create("hand", std::move(operators), std::move(tensor_list),
                                                  std::move(parameter_list), std::move(training)),
                         uniform_cluster(devices, {"compute"}, std::nullopt, Duration(0)));
}

TEST(ToOrder, actions_become_blocks_of_their_operators_in_sequence) {
  const Problem problem = testing::stage_pipeline(PipelineShape::kLinear, 1, 1, 2, kTimesWithoutTransfer);
  const ExecutionOrder order = to_order(problem, schedule_of({"0F0 0F1 0B0 0I1 0W1"}, 1, 2), PairMode::kAtomic);
  EXPECT_THAT(blocks_of(problem, order, 0),
              ElementsAre("stage0.all.F#0@0 = 10", "stage0.all.F#1@0 = 10", "stage0.all.I#0@0 stage0.all.W#0@12 = 20",
                          "stage0.all.I#1@0 = 12", "stage0.all.W#1@0 = 8"));
}

TEST(ToOrder, pair_is_one_block_or_two) {
  const Problem problem = testing::stage_pipeline(PipelineShape::kV, 1, 2, 2, kTimesWithoutTransfer);
  const PipelineSchedule schedule = schedule_of({"0F0 1F0 (0F1;1B0)OVERLAP_F_B (1F1;0B0)OVERLAP_F_B 1B1 0B1"}, 2, 2);
  const auto atomic = blocks_of(problem, to_order(problem, schedule, PairMode::kAtomic), 0);
  ASSERT_EQ(atomic.size(), 6U);
  EXPECT_THAT(atomic[2], HasSubstr("stage0.all.F#1@"));
  EXPECT_THAT(atomic[2], HasSubstr("stage1.all.W#0@"));
  EXPECT_THAT(atomic[2], HasSubstr("= 30"));
  const auto split = blocks_of(problem, to_order(problem, schedule, PairMode::kSplit), 0);
  ASSERT_EQ(split.size(), 8U);
  EXPECT_EQ(split[2], "stage0.all.F#1@0 = 10");
  EXPECT_EQ(split[3], "stage1.all.I#0@0 stage1.all.W#0@12 = 20");
}

TEST(ToOrder, more_stages_than_the_schedule_has_are_joined_by_time) {
  // Stages of 1, 1, 1, 3: half of the time ends after the third.
  std::vector<Operator> operators;
  for (std::uint32_t stage = 0; stage < 4; ++stage) {
    std::vector<TensorId> inputs;
    if (stage > 0) inputs.push_back(TensorId(stage - 1));
    operators.push_back(
        plain("f" + std::to_string(stage), Phase::kForward, stage, inputs, {TensorId(stage)}, stage == 3 ? 3 : 1));
  }
  const Problem problem = problem_of(std::move(operators), 4, 4, 2);
  const ExecutionOrder order = to_order(problem, schedule_of({"0F0", "1F0"}, 2, 1), PairMode::kAtomic);
  EXPECT_THAT(blocks_of(problem, order, 0), ElementsAre("f0@0 f1@1 f2@2 = 3"));
  EXPECT_THAT(blocks_of(problem, order, 1), ElementsAre("f3@0 = 3"));
}

TEST(ToOrder, rows_find_the_devices_on_which_their_operators_may_run) {
  PipelineSpec spec;
  spec.name = "reversed";
  for (int stage = 0; stage < 2; ++stage) {
    Layer layer;
    layer.name = "stage" + std::to_string(stage);
    layer.operators = {{"all", "", {"compute"}, Duration(1), Duration(1), Duration(1)}};
    spec.layers.push_back(layer);
  }
  spec.devices = {"gpu2", "gpu1"};
  const Problem problem =
      Problem::create(build_pipeline(spec), uniform_cluster(3, {"compute"}, std::nullopt, Duration(0)));
  const ExecutionOrder order = to_order(problem, schedule_of({"0F0 0B0", "1F0 1B0"}, 2, 1), PairMode::kAtomic);
  EXPECT_TRUE(order.devices[0].empty());
  EXPECT_THAT(blocks_of(problem, order, 2), ElementsAre("stage0.all.F@0 = 1", "stage0.all.I@0 stage0.all.W@1 = 2"));
}

TEST(ToOrder, fused_backward_counts_as_input_gradient_and_actions_without_operators_are_left_out) {
  const Problem problem = problem_of({plain("f", Phase::kForward, 0, {}, {TensorId(0)}, 2),
                                      plain("b", Phase::kBackward, 0, {TensorId(0)}, {TensorId(1)}, 3)},
                                     2, 1, 1);
  EXPECT_THAT(blocks_of(problem, to_order(problem, schedule_of({"0F0 0I0 0W0"}, 1, 1), PairMode::kAtomic), 0),
              ElementsAre("f@0 = 2", "b@0 = 3"));
  EXPECT_THAT(blocks_of(problem, to_order(problem, schedule_of({"0F0 0B0"}, 1, 1), PairMode::kAtomic), 0),
              ElementsAre("f@0 = 2", "b@0 = 3"));
}

TEST(ToOrder, optimizer_comes_last_on_the_device_of_its_parameters) {
  Operator optimizer = plain("step", Phase::kOptimizer, 0, {}, {});
  optimizer.stage.reset();
  const Problem problem = problem_of({plain("f", Phase::kForward, 0, {}, {TensorId(0)}),
                                      plain("w", Phase::kWeightGradient, 0, {TensorId(0)}, {}), optimizer},
                                     1, 1, 2, {.microbatches = 2});
  const ExecutionOrder order = to_order(problem, schedule_of({"0F0 0F1 0W0 0W1"}, 1, 2), PairMode::kAtomic);
  ASSERT_EQ(order.devices[0].size(), 5U);
  EXPECT_EQ(problem.op(order.devices[0].back().tasks.front()).name, "step");
}

TEST(ToOrder, schedules_that_do_not_fit_the_problem_are_errors_with_the_action) {
  const Problem linear = testing::stage_pipeline(PipelineShape::kLinear, 2, 2, 2, kTimesWithoutTransfer);
  const std::string first = "0F0 0F1 0B0 0B1";
  EXPECT_THAT(error_of(linear, schedule_of({first, "1F0 1F1 1B0"}, 2, 2)),
              HasSubstr("schedule \"hand\": no action runs operator \"stage1.all.I#1\""));
  EXPECT_THAT(error_of(linear, schedule_of({first, "1F0 1F1 1B0 1B1 1W1"}, 2, 2)),
              HasSubstr("action 1W1 runs operator \"stage1.all.W#1\" again"));
  EXPECT_THAT(error_of(linear, schedule_of({first, "1F0 1F1 1B0 1B1 1F2"}, 2, 3)),
              HasSubstr("action 1F2 has no operators: the problem has 2 stages and 2 microbatches"));
  EXPECT_THAT(error_of(linear, schedule_of({first, "1F0 1F1 1B0 1B1 2F1"}, 2, 2)),
              HasSubstr("action 2F1 has no operators"));
  EXPECT_THAT(error_of(linear, schedule_of({first, "1F0 1F1 1B0 1B1"}, 3, 2)),
              HasSubstr("has 3 stages, the problem has 2"));
  EXPECT_THAT(error_of(linear, schedule_of({"0F0 0F1 0B0", "0B1 1F0 1F1 1B0 1B1"}, 2, 2)),
              HasSubstr("action 0B1 of row 1 shares a device with actions of row 0"));
  // Both stages on one row, but the problem wants them on different devices.
  EXPECT_THAT(error_of(linear, schedule_of({first + " 1F0 1F1 1B0 1B1"}, 2, 2)),
              HasSubstr("the rows of the schedule do not fit the devices"));
}

TEST(ToOrder, pair_of_a_forward_with_its_own_backward_is_an_error) {
  const Problem problem = testing::stage_pipeline(PipelineShape::kLinear, 1, 1, 1, kTimesWithoutTransfer);
  const PipelineSchedule schedule = schedule_of({"(0F0;0B0)OVERLAP_F_B"}, 1, 1);
  EXPECT_THAT(error_of(problem, schedule), HasSubstr("overlaps a forward with the backward that needs it"));
  EXPECT_EQ(error_of(problem, schedule, PairMode::kSplit), "no error");
}

TEST(ToOrder, operator_without_a_stage_is_an_error) {
  Operator op = plain("f", Phase::kForward, 0, {}, {});
  op.stage.reset();
  const Problem problem = problem_of({op}, 0, 1, 1);
  EXPECT_THAT(error_of(problem, schedule_of({"0F0"}, 1, 1)), HasSubstr("operators without a stage"));
}

TEST(ToOrder, operators_that_must_be_apart_do_not_share_a_row) {
  Operator first = plain("f0", Phase::kForward, 0, {}, {TensorId(0)});
  Operator second = plain("f1", Phase::kForward, 1, {TensorId(0)}, {TensorId(1)});
  first.anti_colocation = second.anti_colocation = {"apart"};
  const Problem problem = problem_of({first, second}, 2, 2, 2);
  EXPECT_THAT(error_of(problem, schedule_of({"0F0 1F0"}, 2, 1)), HasSubstr("must not share a device"));
  EXPECT_EQ(error_of(problem, schedule_of({"0F0", "1F0"}, 2, 1)), "no error");
}

}  // namespace
}  // namespace opweave
