#include "opweave/exchange.h"

#include <gtest/gtest.h>

#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/planner.h"
#include "support/random_problems.h"

namespace opweave {
namespace {

/// Enough operators that one evaluation does not end at the best plan.
std::vector<Problem> problems_to_share() {
  testing::RandomShape shape;
  shape.most_tasks = 30;
  shape.memory_percent = 0;
  std::vector<Problem> result;
  for (std::uint64_t seed = 1; result.size() < 12; ++seed) {
    try {
      result.push_back(testing::random_problem(seed, shape).problem());
    } catch (const InputError&) {  // parameters that no device may share
    }
  }
  return result;
}

PlannerOptions heuristic() {
  PlannerOptions options;
  options.method = Method::kHeuristic;
  return options;
}

TEST(Exchange, a_search_takes_the_better_plan_and_the_greater_bound_of_others) {
  int helped = 0;
  for (const Problem& problem : problems_to_share()) {
    const PlanResult best = plan(problem, Budget(std::nullopt, 5000), heuristic());
    if (!best.plan) continue;
    const PlanResult alone = plan(problem, Budget(std::nullopt, 1), heuristic());
    const auto exchange = std::make_shared<Exchange>();
    exchange->offer(to_schedule(problem, *best.plan), "elsewhere");
    // Proven wherever the plan is optimal; otherwise as good as what is known.
    exchange->raise_bound({"elsewhere", best.plan->lower_bound(), ""});
    const PlanResult told = plan(problem, Budget(std::nullopt, 1), heuristic(), exchange);
    ASSERT_TRUE(told.plan && alone.plan);
    EXPECT_LE(told.plan->statistics.makespan, best.plan->statistics.makespan);
    EXPECT_GE(told.plan->lower_bound(), best.plan->lower_bound());
    EXPECT_TRUE(check(problem.graph(), problem.cluster(), *told.plan, 1).empty());
    helped += told.plan->statistics.makespan < alone.plan->statistics.makespan ? 1 : 0;
  }
  EXPECT_GT(helped, 0);
}

TEST(Exchange, what_others_claim_wrongly_is_dropped) {
  for (const Problem& problem : problems_to_share()) {
    const PlanResult alone = plan(problem, Budget(std::nullopt, 50), heuristic());
    if (!alone.plan) continue;
    Schedule all_at_once = to_schedule(problem, *alone.plan);
    for (TaskAssignment& task : all_at_once.tasks) task.start = Duration(0);
    const auto exchange = std::make_shared<Exchange>();
    exchange->offer(all_at_once, "elsewhere");
    const PlanResult told = plan(problem, Budget(std::nullopt, 50), heuristic(), exchange);
    ASSERT_TRUE(told.plan);
    EXPECT_TRUE(check(problem.graph(), problem.cluster(), *told.plan, 1).empty());
  }
}

}  // namespace
}  // namespace opweave
