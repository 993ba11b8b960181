#include "coarsen/repeated_blocks.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "list_scheduling/list_schedule.h"
#include "opweave/pipeline.h"
#include "opweave/planner.h"
#include "support/equal_layers.h"
#include "support/mergeable_problems.h"

namespace opweave {
namespace {

using coarsen::RepeatedBlocks;
using testing::equal_layers;

Schedule planned(const Problem& problem) {
  return to_schedule(problem, *plan(problem, Budget(std::nullopt, 2000)).plan);
}

// 1 operator, then 20 layers of 6. A block is three levels of the graph; the ends of the chain are alike only to where
// the first and the last operator differ, so 19 or 20 blocks are seen and all but three left out.
TEST(RepeatedBlocks, leaves_out_most_layers_of_a_chain) {
  const Problem problem = equal_layers({20, 4, false, 2});
  const auto blocks = RepeatedBlocks::find(problem);
  ASSERT_TRUE(blocks);
  EXPECT_GE(blocks->block_count(), 19U);
  EXPECT_LE(blocks->block_count(), 20U);
  EXPECT_EQ(blocks->problem().task_count(), problem.task_count() - 6 * (blocks->block_count() - 3));
}

// A layer without transfers takes 1 + 20 + 1 on two devices, and 1 before all.
TEST(RepeatedBlocks, repeats_the_placement_of_a_layer) {
  const Problem problem = equal_layers({20, 4, false, 2});
  const auto blocks = RepeatedBlocks::find(problem);
  ASSERT_TRUE(blocks);
  const Schedule few = planned(blocks->problem());
  const auto layers = static_cast<std::int64_t>((blocks->problem().task_count() - 1) / 6);
  ASSERT_EQ(few.makespan(blocks->problem()), Duration(1 + 22 * layers));
  const auto modes = blocks->expand(problem, few);
  ASSERT_TRUE(modes);
  const auto schedule = list_schedule(problem, *modes);
  ASSERT_TRUE(schedule);
  EXPECT_EQ(schedule->makespan(problem), Duration(1 + 22 * 20));
}

TEST(RepeatedBlocks, gradients_stay_with_their_weights) {
  const Problem problem = equal_layers({30, 3, true, 3, Duration(2)});
  const auto blocks = RepeatedBlocks::find(problem);
  ASSERT_TRUE(blocks);
  EXPECT_GE(blocks->block_count(), 27U);
  EXPECT_LT(blocks->problem().task_count(), problem.task_count() / 4);
  const auto modes = blocks->expand(problem, planned(blocks->problem()));
  ASSERT_TRUE(modes);
  for (std::size_t g = 0; g < problem.group_count(); ++g) {
    for (const TaskId task : problem.tasks_of(GroupId(g))) {
      const TaskId first = problem.tasks_of(GroupId(g)).front();
      EXPECT_EQ((*modes)[task.index()], (*modes)[first.index()]);
    }
  }
  EXPECT_TRUE(list_schedule(problem, *modes));
}

// Twelve operators in a chain: the ten in the middle are alike, and the first two and the last of these stay. The
// second is given its input by device 0 and gives its output on device 1, so the next one has the devices exchanged,
// and so on; seven are left out, so what follows them lies exchanged as well.
TEST(RepeatedBlocks, exchanges_devices_where_a_block_hands_over_on_another_one) {
  std::vector<Operator> operators(12);
  std::vector<Tensor> tensors(12);
  for (std::size_t i = 0; i < operators.size(); ++i) {
    operators[i].name = "op" + std::to_string(i);
    operators[i].durations = {{"", Duration(5)}};
    tensors[i] = {"t" + std::to_string(i), Bytes(1), {}, {}};
    operators[i].outputs = {TensorId(i)};
    if (i > 0) operators[i].inputs = {TensorId(i - 1)};
  }
  const Problem problem = Problem::create(ComputationGraph::create("chain", operators, tensors, {}),
                                          uniform_cluster(2, {"compute"}, std::nullopt, Duration(1), 1'000'000'000));
  const auto blocks = RepeatedBlocks::find(problem);
  ASSERT_TRUE(blocks);
  EXPECT_EQ(blocks->block_count(), 10U);
  ASSERT_EQ(blocks->problem().task_count(), 5U);
  const Schedule few = *list_schedule(blocks->problem(), {0, 0, 1, 0, 0});
  EXPECT_EQ(blocks->expand(problem, few), (std::vector<ModeIndex>{0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1}));
}

TEST(RepeatedBlocks, sees_none_in_random_graphs) {
  EXPECT_FALSE(RepeatedBlocks::find(testing::heavy_layers(500, 4)));
  for (const Problem& problem : testing::mergeable_problems(50, 40)) {
    const auto blocks = RepeatedBlocks::find(problem);
    EXPECT_TRUE(!blocks || blocks->problem().task_count() < problem.task_count());
  }
}

}  // namespace
}  // namespace opweave
