#include "placement_search/training_placement.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "opweave/check.h"
#include "opweave/pipeline.h"
#include "opweave/plan.h"
#include "placement/placement.h"
#include "support/random_training_steps.h"

namespace opweave {
namespace {

/// Layers of one forward each, in a chain, on two devices.
Problem layers(const std::vector<std::int64_t>& forwards, std::uint32_t microbatches, std::int64_t weights = 0,
               std::optional<Bytes> memory = std::nullopt) {
  PipelineSpec spec;
  spec.shape = PipelineShape::kFree;
  spec.training.microbatches = microbatches;
  for (std::size_t i = 0; i < forwards.size(); ++i) {
    Layer layer;
    layer.name = fmt::format("layer{}", i);
    layer.operators = {{"op", "", {"compute"}, Duration(forwards[i]), std::nullopt, std::nullopt}};
    layer.weights = Bytes(weights);
    spec.layers.push_back(layer);
  }
  return Problem::create(build_pipeline(spec), uniform_cluster(2, {"compute"}, memory, Duration(0)));
}

std::vector<ModeIndex> all_on_first(const Problem& problem) {
  std::vector<ModeIndex> modes;
  for (std::size_t t = 0; t < problem.task_count(); ++t) modes.push_back(*problem.mode_on(TaskId(t), DeviceId(0)));
  return modes;
}

bool is_valid(const Problem& problem, const Schedule& schedule) {
  return check(problem.graph(), problem.cluster(), make_plan(problem, schedule, {}, {}), 1).empty();
}

TEST(TrainingPlacement, applies_where_microbatches_repeat_and_there_is_a_choice) {
  EXPECT_TRUE(TrainingPlacement::applies_to(layers({1, 2}, 2)));
  EXPECT_FALSE(TrainingPlacement::applies_to(layers({1, 2}, 1)));
}

TEST(TrainingPlacement, evens_out_what_no_cut_into_consecutive_parts_can) {
  // 5 + 2 and 4 + 3: 7 per microbatch, and at best the first 2 of layer 3 of the last microbatch behind the other
  // device's end. The best consecutive parts have 9.
  const Problem problem = layers({5, 4, 3, 2}, 12);
  TrainingPlacement search(problem, {all_on_first(problem)}, 1);
  const auto found = search.search({}, {400, 40});
  EXPECT_LE(search.effort().dispatched, 400U + 8U);  // looked at every 8 changes
  EXPECT_LE(search.effort().scheduled, 40U);
  ASSERT_FALSE(found.empty());
  EXPECT_TRUE(is_valid(problem, found.front().schedule));
  EXPECT_EQ(found.front().makespan, found.front().schedule.makespan(problem));
  EXPECT_GE(found.front().makespan, Duration(12 * 7));
  EXPECT_LT(found.front().makespan, Duration(12 * 7 + 14));
}

TEST(TrainingPlacement, keeps_parameters_within_memory) {
  // Two layers of 10 bytes fit on a device: 5 + 2 against 4 + 3 again, although three small ones could share one.
  const Problem problem = layers({5, 4, 3, 2}, 12, 10, Bytes(20));
  std::vector<ModeIndex> modes = all_on_first(problem);
  for (std::size_t t = 0; t < modes.size(); ++t) {
    const std::size_t layer = problem.task(TaskId(t)).op.index();
    modes[t] = *problem.mode_on(TaskId(t), DeviceId(layer < 2 ? 0 : 1));
  }
  TrainingPlacement search(problem, {modes}, 1);
  const auto found = search.search({}, {400, 40});
  ASSERT_FALSE(found.empty());
  for (const TrainingPlacement::Found& each : found) EXPECT_TRUE(is_valid(problem, each.schedule));
  EXPECT_LT(found.front().makespan, Duration(12 * 7 + 14));
}

TEST(TrainingPlacement, is_the_same_for_the_same_seed_and_effort) {
  const Problem problem = layers({7, 4, 3, 2, 6, 1, 5}, 6);
  const auto found = [&] {
    TrainingPlacement search(problem, {all_on_first(problem)}, 5);
    return search.search({}, {300, 20}).front().schedule;
  };
  const Schedule once = found();
  const Schedule again = found();
  ASSERT_EQ(once.tasks.size(), again.tasks.size());
  for (std::size_t t = 0; t < once.tasks.size(); ++t) {
    EXPECT_EQ(once.tasks[t].mode, again.tasks[t].mode);
    EXPECT_EQ(once.tasks[t].start, again.tasks[t].start);
  }
}

TEST(TrainingPlacement, places_each_of_two_copies_and_keeps_two_streams_busy) {
  PipelineSpec spec;
  spec.shape = PipelineShape::kFree;
  spec.training.microbatches = 8;
  spec.training.replicas = 2;
  for (int i = 0; i < 8; ++i) {
    Layer layer;
    layer.name = fmt::format("layer{}", i);
    layer.operators = {{"mlp", "", {"compute"}, Duration(4 + i % 3), Duration(5), Duration(3)},
                       {"combine", "", {"comm"}, Duration(3), Duration(2), std::nullopt}};
    layer.activation = Bytes(10);
    layer.weights = Bytes(5);
    spec.layers.push_back(layer);
  }
  const Problem problem =
      Problem::create(build_pipeline(spec), uniform_cluster(4, {"compute", "comm"}, Bytes(120), Duration(1)));
  std::vector<std::vector<ModeIndex>> starts;
  for (const PlacementGuess& guess : guess_placements(problem)) starts.push_back(guess.modes);
  ASSERT_FALSE(starts.empty());
  TrainingPlacement search(problem, starts, 1);
  const auto found = search.search({}, {2000, 12});
  ASSERT_FALSE(found.empty());
  for (const TrainingPlacement::Found& each : found) EXPECT_TRUE(is_valid(problem, each.schedule));
  // A layer computes for 12 to 14 per microbatch: 8 x 8 x 12 / 4 on each device at least.
  EXPECT_GE(found.front().makespan, Duration(8 * 8 * 12 / 4));
  EXPECT_LT(found.front().makespan, Duration(3 * 8 * 8 * 13 / 4));
}

TEST(TrainingPlacement, finds_valid_steps_on_devices_of_two_speeds) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    const testing::TrainingStep step = testing::random_training_step(seed, 16, 5, 8);
    const auto guesses = guess_placements(step.problem);
    ASSERT_FALSE(guesses.empty()) << step.name;
    std::vector<std::vector<ModeIndex>> starts;
    for (const PlacementGuess& guess : guesses) starts.push_back(guess.modes);
    TrainingPlacement search(step.problem, starts, seed);
    const auto found = search.search({}, {500, 6});
    ASSERT_FALSE(found.empty()) << step.name;
    for (const TrainingPlacement::Found& each : found) {
      EXPECT_TRUE(is_valid(step.problem, each.schedule)) << step.name;
    }
  }
}

}  // namespace
}  // namespace opweave
