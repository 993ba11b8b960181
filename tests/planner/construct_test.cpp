#include "planner/construct.h"

#include <gtest/gtest.h>

#include "opweave/bounds.h"
#include "support/random_problems.h"

namespace opweave {
namespace {

/// Problems for which some plan is found.
std::vector<Problem> problems() {
  std::vector<Problem> result;
  testing::RandomShape shape;
  shape.most_tasks = 24;
  for (std::uint64_t seed = 1; result.size() < 20; ++seed) {
    try {
      Problem problem = testing::random_problem(seed, shape).problem();
      const Budget budget;
      IncumbentStore store(problem, budget, {});
      (void)construct(problem, budget, store, {});
      if (store.makespan()) result.push_back(std::move(problem));
    } catch (const std::exception&) {  // shared parameters on different devices
    }
  }
  return result;
}

TEST(Construct, tells_once_that_the_first_plan_is_there) {
  for (const Problem& problem : problems()) {
    const Budget budget;
    IncumbentStore store(problem, budget, {});
    int calls = 0;
    ConstructionOptions options;
    options.on_first = [&] {
      ++calls;
      EXPECT_EQ(store.trajectory().size(), 1U);
      return true;
    };
    (void)construct(problem, budget, store, options);
    EXPECT_EQ(calls, 1);
  }
}

TEST(Construct, goes_no_further_than_the_first_plan_where_that_is_enough) {
  for (const Problem& problem : problems()) {
    const Budget budget;
    IncumbentStore store(problem, budget, {});
    ConstructionOptions options;
    options.on_first = [] { return false; };
    const Construction construction = construct(problem, budget, store, options);
    EXPECT_EQ(store.trajectory().size(), 1U);
    EXPECT_EQ(construction.starts.size(), 1U);
  }
}

TEST(Construct, has_a_plan_even_when_the_time_is_over) {
  for (const Problem& problem : problems()) {
    const Budget budget(0.0, std::nullopt);
    IncumbentStore store(problem, budget, {});
    (void)construct(problem, budget, store, {});
    EXPECT_TRUE(store.makespan());
  }
}

TEST(IncumbentStore, is_final_when_a_bound_that_is_stated_later_is_met) {
  const Problem problem = problems().front();
  const Budget budget;
  IncumbentStore store(problem, budget, {});
  (void)construct(problem, budget, store, {});
  EXPECT_FALSE(store.is_optimal());
  store.state_bounds({{"load", *store.makespan(), ""}});
  EXPECT_TRUE(store.is_optimal());
  EXPECT_TRUE(store.is_final());
}

}  // namespace
}  // namespace opweave
