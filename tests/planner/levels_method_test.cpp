#include "planner/levels_method.h"

#include <gtest/gtest.h>

#include "opweave/planner.h"
#include "planner/construction.h"
#include "support/equal_layers.h"
#include "support/mergeable_problems.h"

namespace opweave {
namespace {

/// A problem with first plans, before its levels are searched.
struct Planned {
  explicit Planned(const Problem& of, std::optional<double> seconds)
      : budget(seconds, std::nullopt), traits(of), context{traits, options}, store(of, budget, {}) {
    Construction construction(of, store);
    construction.complete(budget);
    context.starts = construction.starts();
  }

  const Budget budget;
  const PlannerOptions options;
  const ProblemTraits traits;
  SearchContext context;
  IncumbentStore store;
};

TEST(LevelsMethod, finds_a_shorter_valid_schedule_where_transfers_are_heavy) {
  const Problem problem = testing::heavy_layers(1500, 4);
  Planned planned(problem, 2.0);
  const Duration before = *planned.store.makespan();
  LevelsMethod(planned.context, 1, false).advance(planned.store, {planned.budget, std::nullopt});
  EXPECT_LT(*planned.store.makespan(), before);
  ASSERT_EQ(planned.context.starts.size(), 1U);
  EXPECT_EQ(planned.context.starts.front().makespan, *planned.store.makespan());
  EXPECT_EQ(planned.store.last_rejection(), "");
}

TEST(LevelsMethod, offers_nothing_when_there_is_no_time) {
  const Problem problem = testing::heavy_layers(300, 4);
  Planned planned(problem, 0.0);
  const std::size_t before = planned.store.trajectory().size();
  LevelsMethod(planned.context, 1, false).advance(planned.store, {planned.budget, std::nullopt});
  EXPECT_EQ(planned.store.trajectory().size(), before);
}

TEST(LevelsMethod, finds_the_same_with_the_same_evaluations_whatever_the_threads) {
  const Problem problem = testing::heavy_layers(800, 4);
  std::vector<Duration> found;
  for (const unsigned threads : {1U, 3U}) {
    Planned planned(problem, std::nullopt);
    const Duration before = *planned.store.makespan();
    LevelsMethod levels(planned.context, 1, false);
    for (const std::uint64_t evaluations : {200U, 400U}) {
      levels.advance(planned.store, {planned.budget, evaluations, threads});
      found.push_back(*planned.store.makespan());
    }
    EXPECT_LT(found.back(), before);
  }
  EXPECT_EQ(found[0], found[2]);
  EXPECT_EQ(found[1], found[3]);
  EXPECT_LE(found[1], found[0]);
}

// Transfers of 40 between operators of 10 and less: all on one device takes 2 x (1 + 20 x (1 + 6 x 10 + 1)) = 2482,
// which rules that place operator by operator do not see, and those that place clusters do. Where transfers cost
// nothing no cluster is better than its members.
TEST(LevelsMethod, leaves_the_problem_itself_to_others_if_asked_to) {
  for (const bool is_heavy : {true, false}) {
    const Problem problem = testing::equal_layers({20, 6, true, 4, Duration(is_heavy ? 40 : 0)});
    Planned planned(problem, 1.5);
    const Duration before = *planned.store.makespan();
    LevelsMethod levels(planned.context, 1, true);
    levels.advance(planned.store, {planned.budget, std::nullopt});
    ASSERT_EQ(*planned.store.makespan() < before, is_heavy);
    EXPECT_EQ(planned.budget.expired(), is_heavy);
    EXPECT_EQ(levels.is_done(), !is_heavy);
    if (is_heavy) {
      EXPECT_LE(*planned.store.makespan(), Duration(2482));
    }
  }
}

TEST(LevelsMethod, plan_is_never_worse_than_its_warm_start) {
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
