#include "planner/improve_levels.h"

#include <gtest/gtest.h>

#include "opweave/planner.h"
#include "support/equal_layers.h"
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

// Transfers of 40 between operators of 10 and less: all on one device takes 2 x (1 + 20 x (1 + 6 x 10 + 1)) = 2482,
// which rules that place operator by operator do not see, and those that place clusters do. Where transfers cost
// nothing no cluster is better than its members.
TEST(ImproveLevels, leaves_the_problem_itself_to_others_if_asked_to) {
  for (const bool is_heavy : {true, false}) {
    const Problem problem = testing::equal_layers({20, 6, true, 4, Duration(is_heavy ? 40 : 0)});
    const Budget budget(1.5, std::nullopt);
    IncumbentStore store(problem, budget, {});
    const Construction construction = construct(problem, budget, store, {});
    const auto better = improve_levels(problem, budget, 0, {}, construction.starts.front(), store, true);
    ASSERT_EQ(better.has_value(), is_heavy);
    EXPECT_EQ(budget.expired(), is_heavy);
    if (is_heavy) {
      EXPECT_LE(better->makespan, Duration(2482));
    }
  }
}

TEST(ImproveLevels, plan_is_never_worse_than_its_warm_start) {
  const Problem problem = testing::heavy_layers(4500, 4);  // more tasks than are searched as a whole
  const PlanResult first = plan(problem, Budget(1.0, std::nullopt));
  ASSERT_TRUE(first.plan);
  PlannerOptions options;
  options.warm_start = to_schedule(problem, *first.plan);
  for (const double seconds : {0.0, 0.3, 1.0}) {
    options.seed += 1;
    const PlanResult again = plan(problem, Budget(seconds, std::nullopt), options);
    ASSERT_TRUE(again.plan);
    EXPECT_LE(again.plan->statistics.makespan, first.plan->statistics.makespan) << seconds;
  }
}

}  // namespace
}  // namespace opweave
