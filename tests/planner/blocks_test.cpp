#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "opweave/bounds.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/pareto.h"
#include "opweave/pipeline.h"
#include "opweave/planner.h"
#include "planner/block_problem.h"
#include "planner/incumbent.h"
#include "support/brute_force.h"
#include "support/random_problems.h"

namespace opweave {
namespace {

using ::testing::HasSubstr;

Operator make_op(std::string name, Phase phase, std::uint32_t stage, std::int64_t duration,
                 std::vector<TensorId> inputs = {}, std::vector<TensorId> outputs = {}) {
  Operator op;
  op.name = std::move(name);
  op.phase = phase;
  op.stage = StageId(stage);
  op.durations = {{"", Duration(duration)}};
  op.inputs = std::move(inputs);
  op.outputs = std::move(outputs);
  return op;
}

Tensor make_tensor(std::string name, std::int64_t size) { return {std::move(name), Bytes(size), {}, {}}; }

Problem by_stage(std::vector<Operator> operators, std::vector<Tensor> tensors, const Cluster& cluster,
                 Training training = {}, std::optional<Bytes> memory = {}) {
  auto graph = ComputationGraph::create("model", std::move(operators), std::move(tensors), {}, training);
  ProblemSettings settings = default_settings(graph, cluster);
  settings.blocks = Blocks::kStage;
  settings.memory_limit = memory;
  return Problem::create(std::move(graph), cluster, settings);
}

Problem in_blocks(const Problem& problem, Blocks blocks) {
  ProblemSettings settings = problem.settings();
  settings.blocks = blocks;
  return Problem::create(problem.graph(), problem.cluster(), settings);
}

/// Equal layers of one operator, 1 us each of F, I and W.
Problem equal_chain(std::uint32_t layers, std::uint32_t devices, std::uint32_t microbatches) {
  PipelineSpec spec;
  spec.name = "chain";
  spec.training.microbatches = microbatches;
  for (std::uint32_t i = 0; i < layers; ++i) {
    Layer layer;
    layer.name = "layer" + std::to_string(i);
    layer.operators = {{"op", "", {"compute"}, Duration(1000), Duration(1000), Duration(1000)}};
    layer.activation = Bytes(10);
    spec.layers.push_back(std::move(layer));
  }
  spec.stage_of_layer = even_stages(layers, devices);
  for (std::uint32_t d = 0; d < devices; ++d) spec.devices.push_back("gpu" + std::to_string(d));
  return Problem::create(build_pipeline(spec), uniform_cluster(devices, {"compute"}, std::nullopt, Duration()));
}

PlanResult planned(const Problem& problem, std::uint64_t work = 200, PlannerOptions options = {}) {
  return plan(problem, Budget(std::nullopt, work), options);
}

template <class Call>
std::string refusal(Call call) {
  try {
    call();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

// ZB1P on 4 devices with stages of 4 us each F, I, W: 8 x 12 us of work on the last device, which begins after three
// forwards of 4 us before it: 96 + 12 = 108. The first device must wait as long for the first gradient to end.
TEST(Blocks, a_chain_of_16_layers_is_planned_as_well_as_its_stages_can_be) {
  const Problem problem = in_blocks(equal_chain(16, 4, 8), Blocks::kStage);
  const PlanResult result = planned(problem);
  ASSERT_TRUE(result.plan);
  EXPECT_EQ(result.plan->statistics.makespan, Duration(108'000));
  EXPECT_EQ(result.plan->status, PlanStatus::kOptimal);
  EXPECT_THAT(result.plan->bounds.front().name, HasSubstr("(blocks)"));
  EXPECT_EQ(result.plan->settings.blocks, Blocks::kStage);
  EXPECT_TRUE(check(problem.graph(), problem.cluster(), *result.plan).empty());
}

// Layers of one operator as blocks are the operators themselves, so nothing is lost: 108 us as above, where the last
// device cannot begin before 12 us and has 96 us of work.
TEST(Blocks, layers_of_one_operator_cost_nothing) {
  const PlanResult result = planned(in_blocks(equal_chain(16, 4, 8), Blocks::kLayer));
  ASSERT_TRUE(result.plan);
  EXPECT_EQ(result.plan->statistics.makespan, Duration(108'000));
}

/// One stage: mix 3 on compute, then send 5 on comm; a second mix of 4 that needs nothing of them, and one of 2 after
/// it all. The whole takes 3 + 5 + 2 = 10 while the second mix runs under send.
std::vector<Operator> overlapping() {
  std::vector<Operator> operators = {make_op("mix", Phase::kForward, 0, 3), make_op("send", Phase::kForward, 0, 5),
                                     make_op("other", Phase::kForward, 0, 4), make_op("last", Phase::kForward, 0, 2)};
  operators[1].streams = {"comm"};
  operators[1].after = {OperatorId(0)};
  operators[3].after = {OperatorId(1), OperatorId(2)};
  return operators;
}

TEST(Blocks, operators_of_several_streams_overlap_within_a_piece_but_not_between_pieces) {
  Training training;
  training.microbatches = 3;
  const Problem problem =
      by_stage(overlapping(), {}, uniform_cluster(1, {"compute", "comm"}, std::nullopt, Duration()), training);
  const PlanResult result = planned(problem);
  ASSERT_TRUE(result.plan);
  EXPECT_EQ(result.plan->statistics.makespan, Duration(30));
  EXPECT_EQ(result.plan->status, PlanStatus::kOptimal);
  // Without blocks the second microbatch fills what the first leaves: 3 x 9 of compute, and at most 5 + 2 - 4 more.
  EXPECT_LT(planned(in_blocks(problem, Blocks::kNone)).plan->statistics.makespan, Duration(30));
}

// The piece I reads 4 + 4 bytes and makes 3 + 3, 14 together; but it drops the first 4 before it makes the last 3.
TEST(Blocks, memory_within_a_piece_is_what_its_operators_hold) {
  std::vector<Tensor> tensors = {make_tensor("kept0", 4), make_tensor("kept1", 4), make_tensor("gradient0", 3),
                                 make_tensor("gradient1", 3)};
  std::vector<Operator> operators = {make_op("F0", Phase::kForward, 0, 1, {}, {TensorId(0)}),
                                     make_op("F1", Phase::kForward, 0, 1, {}, {TensorId(1)}),
                                     make_op("I1", Phase::kInputGradient, 0, 1, {TensorId(1)}, {TensorId(3)}),
                                     make_op("I0", Phase::kInputGradient, 0, 1, {TensorId(0)}, {TensorId(2)}),
                                     make_op("W1", Phase::kWeightGradient, 0, 1, {TensorId(3)}),
                                     make_op("W0", Phase::kWeightGradient, 0, 1, {TensorId(2)})};
  operators[1].after = {OperatorId(0)};
  operators[2].after = {OperatorId(1)};
  operators[3].after = {OperatorId(2)};
  // One after the other: 4, 8, then I1 holds 4 + 4 + 3 = 11, I0 4 + 3 + 3 = 10, W1 6, W0 3.
  const Cluster one = uniform_cluster(1, {"compute"}, std::nullopt, Duration());
  EXPECT_TRUE(planned(by_stage(operators, tensors, one, {}, Bytes(11))).plan);
  EXPECT_FALSE(planned(by_stage(operators, tensors, one, {}, Bytes(10))).plan);
}

TEST(Blocks, plans_of_random_problems_are_valid_and_their_bounds_hold) {
  testing::RandomShape shape;
  shape.most_tasks = 12;
  std::size_t tried = 0;
  std::size_t optimal = 0;
  for (std::uint64_t seed = 1; seed <= testing::seeds(400); ++seed) {
    testing::RandomProblem random = testing::random_problem(seed, shape);
    testing::Dice dice(seed);
    const bool by_layer = dice.chance(30);
    const auto count = static_cast<std::int64_t>(random.operators.size());
    for (std::int64_t i = 0; i < count; ++i) {
      Operator& op = random.operators[static_cast<std::size_t>(i)];
      const std::int64_t label = dice.chance(80) ? i * 3 / count : dice.roll(0, 2);
      if (op.phase == Phase::kOptimizer && dice.chance(50)) continue;
      op.stage = StageId(static_cast<std::size_t>(label));
      op.layer = "l" + std::to_string(label);
      if (dice.chance(60)) op.phase = op.phase == Phase::kOptimizer ? op.phase : Phase::kForward;
    }
    std::optional<Problem> problem;
    PlanResult result;
    try {
      problem = in_blocks(random.problem(), by_layer ? Blocks::kLayer : Blocks::kStage);
      result = planned(*problem, 30);  // throws InternalError if check rejects what comes out
    } catch (const InputError&) {
      continue;  // a circle of pieces, devices that differ
    }
    ++tried;
    const BlockProblem blocks(*problem, {});
    const auto best = testing::brute_force(blocks.problem(), 300'000);
    if (!result.plan) {
      if (best.finished && best.best) {
        EXPECT_NE(result.reason, PlanResult::Reason::kInfeasible) << "seed " << seed;
      }
      continue;
    }
    EXPECT_TRUE(check(problem->graph(), problem->cluster(), *result.plan).empty()) << "seed " << seed;
    if (!best.finished || !best.best) continue;
    // A schedule of the problem of the pieces is a plan in blocks, so no bound may exceed it.
    EXPECT_LE(result.plan->lower_bound(), best.best->makespan(blocks.problem())) << "seed " << seed;
    EXPECT_TRUE(is_valid(*problem, blocks.expand(*best.best))) << "seed " << seed;
    if (result.plan->status == PlanStatus::kOptimal) ++optimal;
  }
  EXPECT_GT(tried, testing::seeds(60));
  EXPECT_GT(optimal, testing::seeds(20));
}

TEST(Blocks, what_cannot_run_in_one_piece_is_refused_by_name) {
  const Cluster two = uniform_cluster(2, {"compute"}, std::nullopt, Duration(1));
  std::vector<Tensor> tensors = {make_tensor("there", 1), make_tensor("back", 1)};
  const std::vector<Operator> circle = {make_op("first", Phase::kForward, 0, 1, {}, {TensorId(0)}),
                                        make_op("second", Phase::kForward, 1, 1, {TensorId(0)}, {TensorId(1)}),
                                        make_op("third", Phase::kForward, 0, 1, {TensorId(1)})};
  EXPECT_EQ(refusal([&] { (void)planned(by_stage(circle, tensors, two)); }),
            "pieces by stage: cycle through 2 operators: \"stage 0.F\" -> \"stage 1.F\" -> \"stage 0.F\"");

  std::vector<Operator> pinned = {make_op("a", Phase::kForward, 0, 1), make_op("b", Phase::kForward, 0, 1)};
  pinned[0].devices = {{"gpu0"}};
  pinned[1].devices = {{"gpu1"}};
  EXPECT_EQ(
      refusal([&] { (void)planned(by_stage(pinned, {}, two)); }),
      "stage 0.F cannot run in one piece: no device runs all of its 2 operators alone, none that runs those before "
      "\"b\" runs that one");

  std::vector<Operator> gang = {make_op("a", Phase::kForward, 0, 1)};
  gang[0].durations.clear();
  gang[0].modes = {{{"gpu0", "gpu1"}, Duration(1), Bytes()}};
  EXPECT_THAT(refusal([&] { (void)planned(by_stage(gang, {}, two)); }), HasSubstr("stage 0.F cannot run in one piece"));

  std::vector<Operator> apart = {make_op("a", Phase::kForward, 0, 1), make_op("b", Phase::kInputGradient, 0, 1)};
  apart[0].anti_colocation = {"rivals"};
  apart[1].anti_colocation = {"rivals"};
  EXPECT_EQ(refusal([&] { (void)planned(by_stage(apart, {}, two)); }),
            "stage 0 cannot be a block: its operators \"a\" and \"b\" must be apart (\"rivals\")");

  // F and I are of one block, and so on one device, though no tensor and no colocation says so.
  std::vector<Operator> torn = {make_op("a", Phase::kForward, 0, 1), make_op("b", Phase::kInputGradient, 0, 1)};
  torn[0].devices = {{"gpu0"}};
  torn[1].devices = {{"gpu1"}};
  EXPECT_THAT(refusal([&] { (void)planned(by_stage(torn, {}, two)); }),
              HasSubstr("operator \"stage 0.F\" and 1 others must run together"));

  std::vector<Operator> bare = {make_op("a", Phase::kForward, 0, 1)};
  bare[0].stage.reset();
  EXPECT_EQ(refusal([&] { (void)planned(by_stage(bare, {}, two)); }),
            "operator \"a\" has no stage, but blocks are made of the operators of one stage");
}

TEST(Blocks, optimizer_operators_need_no_stage_and_graphs_need_no_phases) {
  Training training;
  training.microbatches = 2;
  const Cluster two = uniform_cluster(2, {"compute"}, std::nullopt, Duration(1));
  std::vector<Operator> operators = {make_op("F", Phase::kForward, 0, 2), make_op("B", Phase::kBackward, 0, 3),
                                     make_op("W", Phase::kWeightGradient, 0, 1),
                                     make_op("adam", Phase::kOptimizer, 0, 1)};
  operators[3].stage.reset();
  // F before the backward, which is one piece of B and W: 2 x (2 + 4), then the step.
  const PlanResult training_step = planned(by_stage(operators, {}, two, training));
  ASSERT_TRUE(training_step.plan);
  EXPECT_EQ(training_step.plan->statistics.makespan, Duration(13));

  // Two steps of one stage are one piece. That without parameters waits for the gradients of the other stage as well:
  // 2 x (2 + 3) on a device for each, then 1 + 1.
  std::vector<Operator> steps = {make_op("F0", Phase::kForward, 0, 2),     make_op("B0", Phase::kBackward, 0, 3),
                                 make_op("F1", Phase::kForward, 1, 2),     make_op("B1", Phase::kBackward, 1, 3),
                                 make_op("adam", Phase::kOptimizer, 0, 1), make_op("count", Phase::kOptimizer, 0, 1)};
  steps[1].parameters = steps[4].parameters = {ParameterId(0)};
  const auto graph = ComputationGraph::create("steps", steps, {}, {{"w", Bytes(0)}}, training);
  const PlanResult stepped =
      planned(in_blocks(Problem::create(graph, two, default_settings(graph, two)), Blocks::kStage));
  ASSERT_TRUE(stepped.plan);
  EXPECT_EQ(stepped.plan->statistics.makespan, Duration(12));

  const std::vector<Tensor> tensors = {make_tensor("x", 0)};
  const PlanResult inference =
      planned(by_stage({make_op("a", Phase::kNone, 0, 2), make_op("b", Phase::kNone, 0, 1, {}, {TensorId(0)}),
                        make_op("c", Phase::kNone, 1, 3, {TensorId(0)})},
                       tensors, two, training));
  ASSERT_TRUE(inference.plan);
  EXPECT_EQ(inference.plan->statistics.makespan, Duration(3 + 1 + 3 + 3));  // one stage a device
}

TEST(Blocks, a_warm_start_in_pieces_is_never_given_up_for_a_worse_and_others_are_refused) {
  const Problem pieces = in_blocks(equal_chain(8, 4, 4), Blocks::kStage);
  PlannerOptions options;
  const PlanResult first = planned(pieces, 100);
  options.warm_start = to_schedule(pieces, *first.plan);
  const PlanResult again = planned(pieces, 0, options);
  EXPECT_LE(again.plan->statistics.makespan, first.plan->statistics.makespan);

  Training training;
  training.microbatches = 3;
  const Problem overlap =
      by_stage(overlapping(), {}, uniform_cluster(1, {"compute", "comm"}, std::nullopt, Duration()), training);
  options.warm_start = to_schedule(overlap, *planned(in_blocks(overlap, Blocks::kNone)).plan);  // microbatches overlap
  EXPECT_THAT(refusal([&] { (void)planned(overlap, 0, options); }), HasSubstr("warm start is not valid: blocks: "));
}

TEST(Blocks, other_methods_objectives_and_deadlines_work_with_them) {
  const Problem problem = in_blocks(equal_chain(4, 2, 2), Blocks::kStage);
  // Two devices, stages of 2 us: (2 x 3 + 1) x 2 us.
  for (const Method method : {Method::kHeuristic, Method::kMipDisjunctive, Method::kCp}) {
    PlannerOptions options;
    options.method = method;
    const PlanResult result = planned(problem, 2000, options);
    if (!result.plan && method != Method::kHeuristic) continue;  // the solver may be missing
    ASSERT_TRUE(result.plan);
    EXPECT_EQ(result.plan->statistics.makespan, Duration(14'000)) << to_string(method);
  }
  PlannerOptions options;
  options.objectives = {Objective::kPeakMemory, Objective::kMakespan};
  const PlanResult lean = planned(problem, 500, options);
  ASSERT_TRUE(lean.plan);
  EXPECT_TRUE(check(problem.graph(), problem.cluster(), *lean.plan).empty());
  options.objectives = {Objective::kMakespan};
  options.deadline = Duration(13'999);
  EXPECT_FALSE(planned(problem, 500, options).plan);
  options.deadline = Duration(14'000);
  EXPECT_TRUE(planned(problem, 500, options).plan);
}

TEST(Blocks, long_iterations_are_planned_around_kernels) {
  const Problem problem = in_blocks(equal_chain(8, 4, 500), Blocks::kStage);
  const PlanResult result = planned(problem, 200);
  ASSERT_TRUE(result.plan);
  EXPECT_TRUE(check(problem.graph(), problem.cluster(), *result.plan).empty());
  EXPECT_EQ(result.plan->statistics.makespan, Duration((500 * 3 + 3) * 2'000));  // as ZB1P
}

TEST(Blocks, the_same_bytes_come_out_for_any_number_of_threads) {
  const Problem problem =
      by_stage(overlapping(), {}, uniform_cluster(1, {"compute", "comm"}, std::nullopt, Duration()));
  const auto bytes = [&](unsigned threads) {
    PlannerOptions options;
    options.threads = threads;
    return plan_to_json(*planned(problem, 100, options).plan, problem.graph(), problem.cluster());
  };
  EXPECT_EQ(bytes(1), bytes(4));
}

class BlocksCheck : public ::testing::Test {
 protected:
  /// Stage 0 on gpu0: a, then b, which makes x, then something else; stage 1 on gpu1: c, which takes x, and d.
  BlocksCheck() {
    Training training;
    training.microbatches = 2;
    std::vector<Tensor> tensors = {make_tensor("x", 1), make_tensor("inner", 1)};
    std::vector<Operator> operators = {
        make_op("a", Phase::kForward, 0, 2, {}, {TensorId(1)}),
        make_op("b", Phase::kForward, 0, 2, {TensorId(1)}, {TensorId(0)}),
        make_op("else", Phase::kForward, 0, 1),
        make_op("c", Phase::kForward, 1, 2, {TensorId(0)}),
        make_op("d", Phase::kForward, 1, 2),
    };
    for (std::size_t i = 0; i < 3; ++i) operators[i].devices = {{"gpu0"}};
    operators[3].devices = {{"gpu1"}};
    operators[4].devices = {{"gpu0", "gpu1"}};
    problem_ = by_stage(operators, tensors, uniform_cluster(2, {"compute"}, std::nullopt, Duration(1)), training);
    // Stage 0: microbatch 0 in 0-5, 1 in 5-10; x arrives at 6 and 11; stage 1 in 6-10 and 11-15.
    schedule_.tasks.resize(problem_->task_count());
    for (std::uint32_t b = 0; b < 2; ++b) {
      const std::int64_t begin = 5 * b;
      start("a", b, begin);
      start("b", b, begin + 2);
      start("else", b, begin + 4);
      start("c", b, begin + 6);
      start("d", b, begin + 8, 1);
      schedule_.transfers.push_back(
          {problem_->value_of(TensorId(0), b), DeviceId(0), DeviceId(1), Duration(begin + 5), Duration(begin + 6)});
    }
  }

  [[nodiscard]] TaskId task(const std::string& name, std::uint32_t b) const {
    const auto& operators = problem_->graph().operators();
    const auto found = std::ranges::find(operators, name, &Operator::name);
    return problem_->task_of(OperatorId(static_cast<std::size_t>(found - operators.begin())), b);
  }
  void start(const std::string& name, std::uint32_t b, std::int64_t at, ModeIndex mode = 0) {
    schedule_.tasks[task(name, b).index()] = {mode, Duration(at)};
  }
  [[nodiscard]] std::string finding() const {
    for (const Violation& violation :
         check(problem_->graph(), problem_->cluster(), make_plan(*problem_, schedule_, {}, {}))) {
      if (violation.rule == Rule::kBlocks) return violation.message;
    }
    return "";
  }

  std::optional<Problem> problem_;
  Schedule schedule_;
};

TEST_F(BlocksCheck, accepts_pieces_one_after_the_other) {
  EXPECT_TRUE(check(problem_->graph(), problem_->cluster(), make_plan(*problem_, schedule_, {}, {})).empty());
}

TEST_F(BlocksCheck, finds_pieces_that_are_woven) {
  start("else", 0, 7);
  EXPECT_EQ(finding(), "the piece of \"a#0\" runs on \"gpu0\" until 8 ns, but the piece of \"a#1\" starts at 5 ns");
}

TEST_F(BlocksCheck, finds_a_block_on_two_devices) {
  start("d", 1, 20, 0);
  EXPECT_EQ(finding(), "task \"d#1\" runs on \"gpu0\", but \"c#0\" on \"gpu1\": both are of stage 1");
}

TEST_F(BlocksCheck, finds_a_piece_that_begins_before_what_it_needs_has_ended) {
  start("d", 0, 2, 1);
  EXPECT_EQ(finding(),
            "the piece of \"d#0\" starts at 2 ns, but the piece of \"a#0\", which comes before it, ends at 5 ns");
}

TEST_F(BlocksCheck, finds_what_arrives_after_the_piece_has_begun) {
  start("d", 0, 5, 1);
  start("c", 0, 7);
  EXPECT_EQ(finding(), "the piece of \"d#0\" starts at 5 ns, but the transfer of \"x#0\" to it ends at 6 ns");
}

TEST_F(BlocksCheck, finds_what_leaves_before_the_piece_has_ended) {
  schedule_.transfers.front().start = Duration(4);
  schedule_.transfers.front().end = Duration(5);
  EXPECT_EQ(finding(), "transfer of \"x#0\" to \"gpu1\" starts at 4 ns, but the piece of \"a#0\" ends at 5 ns");
}

TEST_F(BlocksCheck, asks_for_a_stage) {
  std::vector<Operator> operators = problem_->graph().operators();
  operators[4].stage.reset();
  const auto graph =
      ComputationGraph::create("model", operators, problem_->graph().tensors(), {}, problem_->graph().training());
  const auto violations = check(graph, problem_->cluster(), make_plan(*problem_, schedule_, {}, {}));
  ASSERT_FALSE(violations.empty());
  EXPECT_EQ(violations.front().message, "operator \"d\" has no stage, by which its settings ask for blocks");
}

}  // namespace
}  // namespace opweave
