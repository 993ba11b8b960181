#include "placement/placement_balancer.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "opweave/pipeline.h"

namespace opweave {
namespace {

/// Layers of one forward each, on two devices; two microbatches. The last layer has its own weights.
Problem layers(const std::vector<std::int64_t>& forwards, std::int64_t weights, std::int64_t last_weights,
               std::optional<Bytes> memory) {
  PipelineSpec spec;
  spec.shape = PipelineShape::kFree;
  spec.training.microbatches = 2;
  for (std::size_t i = 0; i < forwards.size(); ++i) {
    Layer layer;
    layer.name = fmt::format("layer{}", i);
    layer.operators = {{"op", "", {"compute"}, Duration(forwards[i]), std::nullopt, std::nullopt}};
    layer.weights = Bytes(i + 1 < forwards.size() ? weights : last_weights);
    spec.layers.push_back(layer);
  }
  return Problem::create(build_pipeline(spec), uniform_cluster(2, {"compute"}, memory, Duration(0)));
}

/// Device of each layer for the second microbatch, as digits; empty if nothing was changed.
std::string balanced(const Problem& problem, const std::string& devices) {
  std::vector<ModeIndex> modes;
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const auto device = static_cast<std::size_t>(devices[problem.task(TaskId(t)).op.index()] - '0');
    modes.push_back(*problem.mode_on(TaskId(t), DeviceId(device)));
  }
  const auto result = PlacementBalancer(problem).balanced(modes);
  std::string text;
  for (std::size_t i = 0; result && i < devices.size(); ++i) {
    const TaskId task = problem.task_of(OperatorId(i), 1);
    text += fmt::format("{}", problem.mode(task, (*result)[task.index()]).devices.front().index());
  }
  return text;
}

TEST(PlacementBalancer, moves_a_group_away_from_the_device_with_the_most_work) {
  // 6 + 2 + 2 + 2 on device 0: without the first layer 6 and 6.
  EXPECT_EQ(balanced(layers({6, 2, 2, 2}, 0, 0, std::nullopt), "0000"), "1000");
  // Equal layers: the earliest of device 0 goes, so that it keeps its latest.
  EXPECT_EQ(balanced(layers({2, 2, 2, 2}, 0, 0, std::nullopt), "0001"), "1001");
}

TEST(PlacementBalancer, swaps_groups_where_moving_one_is_too_much) {
  // 5 + 4 and 3 + 2: moving 4 gives 5 and 9; swapping 4 for 2, or 5 for 3, gives 7 and 7.
  EXPECT_EQ(balanced(layers({5, 4, 3, 2}, 0, 0, std::nullopt), "0011"), "1001");
}

TEST(PlacementBalancer, leaves_a_placement_alone_that_is_even_or_that_memory_keeps_as_it_is) {
  EXPECT_EQ(balanced(layers({3, 3}, 0, 0, std::nullopt), "01"), "");
  // The last layer fills device 1, so the first can neither join it nor take its place.
  EXPECT_EQ(balanced(layers({2, 2, 1}, 10, 20, Bytes(20)), "001"), "");
}

}  // namespace
}  // namespace opweave
