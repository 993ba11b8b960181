#include "placement_search/step_dispatch.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "list_scheduling/justification.h"
#include "list_scheduling/limited_schedule.h"
#include "opweave/check.h"
#include "opweave/pipeline.h"
#include "opweave/plan.h"
#include "placement/placement.h"
#include "placement_search/chain_cuts.h"
#include "placement_search/dispatched_order.h"
#include "support/random_training_steps.h"

namespace opweave {
namespace {

using Home = std::vector<std::size_t>;

/// Layers of F, I and W of 2, 2 and 1, which hold 10 bytes from F to W, on `devices` devices a hop of 1 apart.
Problem layers(int count, std::uint32_t devices, std::uint32_t microbatches, std::optional<Bytes> memory = std::nullopt,
               std::int64_t weights = 0) {
  PipelineSpec spec;
  spec.shape = PipelineShape::kFree;
  spec.training.microbatches = microbatches;
  for (int i = 0; i < count; ++i) {
    Layer layer;
    layer.name = fmt::format("layer{}", i);
    layer.operators = {{"op", "", {"compute"}, Duration(2), Duration(2), Duration(1)}};
    layer.weights = Bytes(weights);
    layer.activation = Bytes(10);
    layer.output = Bytes(0);
    spec.layers.push_back(layer);
  }
  return Problem::create(build_pipeline(spec), uniform_cluster(devices, {"compute"}, memory, Duration(1)));
}

std::vector<ModeIndex> placed(const Problem& problem, const std::function<std::size_t(std::size_t layer)>& device) {
  std::vector<ModeIndex> modes;
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const std::string& name = problem.op(TaskId(t)).name;
    const std::size_t layer = std::stoul(name.substr(5, name.find('.') - 5));
    modes.push_back(*problem.mode_on(TaskId(t), DeviceId(device(layer))));
  }
  return modes;
}

struct Step {
  Problem problem;
  StepModel model;
  explicit Step(Problem of) : problem(std::move(of)), model(problem, placed(problem, [](std::size_t) { return 0U; })) {}
};

TEST(StepModel, devices_of_a_kind_change_their_names) {
  const Step alike(layers(5, 4, 2));
  EXPECT_EQ(alike.model.canonical({2, 0, 3, 2, 1}), (Home{0, 1, 2, 0, 3}));

  ClusterParts parts = uniform_cluster(4, {"compute"}, Bytes(1000), Duration(1)).parts();
  parts.devices[1].memory = Bytes(2000);
  parts.devices[3].memory = Bytes(2000);
  const Problem uniform = layers(5, 4, 2);
  const Step two_kinds(Problem::create(uniform.graph(), Cluster::create(std::move(parts))));
  EXPECT_EQ(two_kinds.model.canonical({2, 3, 0, 2, 1}), (Home{0, 1, 2, 0, 3}));
  EXPECT_EQ(two_kinds.model.canonical({0, 1, 2, 0, 3}), (Home{0, 1, 2, 0, 3}));
}

TEST(StepDispatch, takes_what_one_device_takes) {
  const Step step(layers(3, 1, 4));
  StepDispatch dispatch(step.model, 32, step.model.microbatches());
  EXPECT_EQ(dispatch.length({0, 0, 0}, {1, 6, 0}, StepModel::kNever), 4 * 3 * 5);
}

TEST(StepDispatch, joins_what_follows_on_one_device) {
  // Two layers each: F of both, I of both, and two W that nothing joins: 4 blocks per device.
  const Step step(layers(4, 2, 1));
  StepBlocks blocks(step.model);
  ASSERT_TRUE(blocks.lay_out({0, 0, 1, 1}));
  EXPECT_EQ(blocks.blocks().size(), 8U);
  ASSERT_TRUE(blocks.lay_out({0, 1, 0, 1}));
  EXPECT_EQ(blocks.blocks().size(), 12U);
}

TEST(StepDispatch, waits_for_transfers) {
  // F0 2, hop 1, F1 and I1 4, hop 1, I0 2, W0 1.
  const Step step(layers(2, 2, 1));
  StepDispatch dispatch(step.model, 32, step.model.microbatches());
  EXPECT_EQ(dispatch.length({0, 1}, {1, 6, 0}, StepModel::kNever), 2 + 1 + 4 + 1 + 2 + 1);
}

TEST(StepDispatch, holds_no_more_than_the_memory_of_a_device) {
  // 10 bytes: one microbatch at a time on each device, so the second begins when the first has left device 0.
  const Step narrow(layers(2, 2, 2, Bytes(10)));
  StepDispatch dispatch(narrow.model, 32, narrow.model.microbatches());
  EXPECT_EQ(dispatch.length({0, 1}, {2, 6, 0}, StepModel::kNever), 2 * 11);
  const Step wide(layers(2, 2, 2, Bytes(20)));
  StepDispatch other(wide.model, 32, wide.model.microbatches());
  EXPECT_LT(other.length({0, 1}, {2, 6, 0}, StepModel::kNever).value(), 2 * 11);
}

TEST(StepDispatch, refuses_parameters_that_do_not_fit) {
  const Step step(layers(2, 2, 2, Bytes(25), 15));
  StepDispatch dispatch(step.model, 32, step.model.microbatches());
  EXPECT_FALSE(dispatch.length({0, 0}, {1, 6, 0}, StepModel::kNever));
  EXPECT_TRUE(dispatch.length({0, 1}, {1, 6, 0}, StepModel::kNever));
}

TEST(StepDispatch, says_nothing_above_the_limit_and_the_same_below) {
  const Step step(layers(4, 2, 6));
  StepDispatch dispatch(step.model, 32, step.model.microbatches());
  const std::int64_t length = dispatch.length({0, 0, 1, 1}, {3, 4, 0}, StepModel::kNever).value();
  EXPECT_EQ(dispatch.length({0, 0, 1, 1}, {3, 4, 0}, length), length);
  EXPECT_FALSE(dispatch.length({0, 0, 1, 1}, {3, 4, 0}, length - 1));
}

TEST(StepDispatch, extrapolates_the_microbatches_that_it_leaves_out) {
  // With all memory and a wide limit both devices are always busy in the middle: 10 per microbatch.
  const Step few(layers(4, 2, 16));
  const Step many(layers(4, 2, 200));
  StepDispatch whole(few.model, 16, few.model.microbatches());
  StepDispatch part(many.model, 16, many.model.microbatches());
  const StepWay way{6, 6, 0};
  const std::int64_t short_step = whole.length({0, 0, 1, 1}, way, StepModel::kNever).value();
  EXPECT_EQ(part.length({0, 0, 1, 1}, way, StepModel::kNever), short_step + 184 * 10);
}

TEST(StepDispatch, counts_what_waits_to_be_sent_by_its_maker) {
  // Outputs of 10 bytes: device 0 may keep one that device 1 has not begun with, and no second beside it.
  PipelineSpec spec;
  spec.shape = PipelineShape::kFree;
  spec.training.microbatches = 3;
  for (int i = 0; i < 2; ++i) {
    Layer layer;
    layer.name = fmt::format("layer{}", i);
    layer.operators = {{"op", "", {"compute"}, Duration(i == 0 ? 1 : 5), std::nullopt, std::nullopt}};
    layer.output = Bytes(10);
    spec.layers.push_back(layer);
  }
  const auto length = [&](std::int64_t memory) {
    const Step step(Problem::create(build_pipeline(spec), uniform_cluster(2, {"compute"}, Bytes(memory), Duration(0))));
    StepDispatch dispatch(step.model, 32, step.model.microbatches());
    EXPECT_EQ(dispatch.length({0, 1}, {3, 6, 0}, StepModel::kNever), 1 + 3 * 5);
    return dispatch.start(0, 0, 2);
  };
  EXPECT_EQ(length(30), 2);  // three at once
  EXPECT_EQ(length(20), 2);  // the first has gone when the third is made
  EXPECT_EQ(length(10), 6);  // one by one
}

/// What the dispatch says is what the whole step takes in its order, with transfers and memory counted in full.
TEST(StepDispatch, is_the_length_of_the_schedule_in_its_order) {
  double longest = 0;
  int fit = 0;
  int count = 0;
  for (std::uint64_t seed = 1; seed <= 24; ++seed) {
    const testing::TrainingStep step = testing::random_training_step(seed, 20, 6, 10);
    const auto guesses = guess_placements(step.problem);
    const StepModel model(step.problem, guesses.front().modes);
    StepDispatch dispatch(model, 32, model.microbatches());
    for (const PlacementGuess& guess : guesses) {
      Home home;
      const auto problem = PlacedProblem::create(step.problem, guess.modes);
      if (!model.home_of(guess.modes, home) || !problem) continue;
      const auto length_of_dispatch = dispatch.length(home, {4, 6, 0}, StepModel::kNever);
      if (!length_of_dispatch) continue;
      ++count;
      const auto starts = schedule_as_dispatched(*problem, dispatch);
      if (!starts) continue;
      ++fit;
      const Plan plan = make_plan(step.problem, problem->schedule(*starts), {}, {});
      EXPECT_TRUE(check(step.problem.graph(), step.problem.cluster(), plan, 1).empty()) << step.name;
      longest =
          std::max(longest, static_cast<double>(length(*problem, *starts)) / static_cast<double>(*length_of_dispatch));
    }
  }
  EXPECT_GT(count, 100);
  EXPECT_GT(fit, count * 95 / 100);
  EXPECT_LT(longest, 1.02);
  fmt::print("{} of {} fit, at most {:.4f} times as long\n", fit, count, longest);
}

TEST(StepDispatch, has_no_schedule_of_microbatches_that_it_leaves_out) {
  const Step step(layers(2, 2, 6));
  const auto problem = PlacedProblem::create(step.problem, placed(step.problem, [](std::size_t i) { return i; }));
  StepDispatch part(step.model, 4, 6);
  ASSERT_TRUE(part.length({0, 1}, {2, 6, 0}, StepModel::kNever));
  EXPECT_FALSE(schedule_as_dispatched(*problem, part));
}

/// Not a bound to either side, but near: on random steps the list schedule in the same limit takes about as long.
TEST(StepDispatch, is_near_the_list_schedule) {
  double sum = 0;
  int count = 0;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    const testing::TrainingStep step = testing::random_training_step(seed, 20, 6, 10);
    const auto guesses = guess_placements(step.problem);
    ASSERT_FALSE(guesses.empty());
    const StepModel model(step.problem, guesses.front().modes);
    StepDispatch dispatch(model, 32, model.microbatches());
    const auto length = dispatch.length(model.first_home(), {2, 6, 0}, StepModel::kNever);
    const auto listed = schedule_within_limit(step.problem, guesses.front().modes, {2, 1.0}, 0);
    if (!length || !listed) continue;
    const auto items = PlacedProblem::create(step.problem, guesses.front().modes);
    const double ratio = static_cast<double>(*length) / static_cast<double>(opweave::length(*items, listed->starts));
    EXPECT_GT(ratio, 0.7) << step.name;
    EXPECT_LT(ratio, 1.4) << step.name;
    sum += ratio;
    ++count;
  }
  ASSERT_GE(count, 6);
  EXPECT_NEAR(sum / count, 1, 0.08);
}

TEST(ChainCuts, give_each_device_what_it_can_do) {
  // Twelve equal layers on a fast device and one of a third of its speed: 9 and 3.
  PipelineSpec spec;
  spec.shape = PipelineShape::kFree;
  spec.training.microbatches = 4;
  const LayerTime time({{"fast", Duration(1)}, {"slow", Duration(3)}});
  for (int i = 0; i < 12; ++i) {
    Layer layer;
    layer.name = fmt::format("layer{}", i);
    layer.operators = {{"op", "", {"compute"}, time, std::nullopt, std::nullopt}};
    spec.layers.push_back(layer);
  }
  ClusterParts cluster = uniform_cluster(2, {"compute"}, std::nullopt, Duration(0)).parts();
  cluster.types = {{"fast", {}, {}}, {"slow", {}, {}}};
  cluster.devices[0].type = "fast";
  cluster.devices[1].type = "slow";
  const Problem problem = Problem::create(build_pipeline(spec), Cluster::create(std::move(cluster)));
  const StepModel model(problem, std::vector<ModeIndex>(problem.task_count(), 0));
  const std::vector<Home> cuts = chain_cuts(problem, model);
  EXPECT_NE(std::ranges::find(cuts, Home{0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1}), cuts.end());
  EXPECT_NE(std::ranges::find(cuts, Home{1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}), cuts.end());
  for (const Home& cut : cuts) EXPECT_LE(std::ranges::count(cut, 1U), 4);
}

}  // namespace
}  // namespace opweave
