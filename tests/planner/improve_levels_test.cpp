#include "planner/improve_levels.h"

#include <gtest/gtest.h>

#include "support/mergeable_problems.h"

namespace opweave {
namespace {

TEST(ImproveLevels, finds_a_shorter_valid_schedule_where_transfers_are_heavy) {
  const Problem problem = testing::heavy_layers(1500, 4);
  const Budget budget(2.0, std::nullopt);
  IncumbentStore store(problem, budget, {});
  const Construction construction = construct(problem, budget, store, {});
  const Duration before = *store.makespan();
  const auto better = improve_levels(problem, budget, 0, {}, construction.starts.front(), store);
  ASSERT_TRUE(better);
  EXPECT_LT(better->makespan, before);
  EXPECT_EQ(better->makespan, *store.makespan());
  EXPECT_EQ(store.last_rejection(), "");
}

TEST(ImproveLevels, returns_nothing_when_there_is_no_time) {
  const Problem problem = testing::heavy_layers(300, 4);
  const Budget budget(0.0, std::nullopt);
  IncumbentStore store(problem, budget, {});
  const Construction construction = construct(problem, budget, store, {});
  EXPECT_FALSE(improve_levels(problem, budget, 0, {}, construction.starts.front(), store));
}

}  // namespace
}  // namespace opweave
