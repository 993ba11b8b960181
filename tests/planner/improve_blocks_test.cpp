#include "planner/improve_blocks.h"

#include <gtest/gtest.h>

#include "list_scheduling/listed.h"
#include "planner/construct.h"
#include "support/equal_layers.h"
#include "support/mergeable_problems.h"

namespace opweave {
namespace {

// Everything on one device takes 1 + 60 x (1 + 40 + 1). Four devices without transfers take 1 + 60 x (1 + 10 + 1),
// which is the critical path.
TEST(ImproveBlocks, plans_sixty_layers_like_a_few) {
  const Problem problem = testing::equal_layers({60, 4, false, 4});
  const Budget budget(4.0, std::nullopt);
  IncumbentStore store(problem, budget, {});
  ASSERT_TRUE(store.offer(*listed(problem, std::vector<ModeIndex>(problem.task_count(), 0)), "one device"));
  ASSERT_EQ(*store.makespan(), Duration(1 + 60 * 42));
  const auto better = improve_blocks(problem, budget, 0, {}, store);
  ASSERT_TRUE(better);
  EXPECT_EQ(better->makespan, Duration(1 + 60 * 12));
  EXPECT_EQ(*store.makespan(), better->makespan);
  EXPECT_EQ(store.last_rejection(), "");
}

TEST(ImproveBlocks, offers_nothing_without_blocks_or_without_time) {
  const Problem random = testing::heavy_layers(300, 4);
  const Problem layers = testing::equal_layers({60, 4, true, 4});
  for (const auto& [problem, seconds] : {std::pair(&random, 1.0), std::pair(&layers, 0.0)}) {
    const Budget budget(seconds, std::nullopt);
    IncumbentStore store(*problem, budget, {});
    (void)construct(*problem, Budget(), store);
    EXPECT_FALSE(improve_blocks(*problem, budget, 0, {}, store));
  }
}

}  // namespace
}  // namespace opweave
