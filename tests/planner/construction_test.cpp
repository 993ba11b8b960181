#include "planner/construction.h"

#include <gtest/gtest.h>

#include "opweave/bounds.h"
#include "support/random_problems.h"

namespace opweave {
namespace {

/// Problems for which some plan is found.
std::vector<Problem> problems_to_construct() {
  std::vector<Problem> result;
  testing::RandomShape shape;
  shape.most_tasks = 24;
  for (std::uint64_t seed = 1; result.size() < 20; ++seed) {
    try {
      Problem problem = testing::random_problem(seed, shape).problem();
      const Budget budget;
      IncumbentStore store(problem, budget, {});
      Construction(problem, store).complete(budget);
      if (store.makespan()) result.push_back(std::move(problem));
    } catch (const std::exception&) {  // shared parameters on different devices
    }
  }
  return result;
}

TEST(Construction, comes_back_with_the_first_plan_and_goes_on_from_there) {
  int with_more = 0;
  for (const Problem& problem : problems_to_construct()) {
    const Budget budget;
    IncumbentStore store(problem, budget, {});
    Construction construction(problem, store);
    construction.find_first(budget);
    EXPECT_EQ(store.trajectory().size(), 1U);
    EXPECT_EQ(construction.starts().size(), 1U);
    const std::uint64_t of_first = construction.evaluations();
    construction.complete(budget);
    with_more += construction.evaluations() > of_first ? 1 : 0;
    // The same as without a stop between.
    IncumbentStore other(problem, budget, {});
    Construction at_once(problem, other);
    at_once.complete(budget);
    EXPECT_EQ(*store.makespan(), *other.makespan());
    EXPECT_EQ(construction.evaluations(), at_once.evaluations());
    EXPECT_EQ(construction.starts().size(), at_once.starts().size());
  }
  EXPECT_GT(with_more, 10);
}

TEST(Construction, has_a_plan_even_when_the_time_is_over) {
  for (const Problem& problem : problems_to_construct()) {
    const Budget budget(0.0, std::nullopt);
    IncumbentStore store(problem, budget, {});
    Construction(problem, store).complete(budget);
    EXPECT_TRUE(store.makespan());
  }
}

TEST(IncumbentStore, is_final_when_a_bound_that_is_stated_later_is_met) {
  const Problem problem = problems_to_construct().front();
  const Budget budget;
  IncumbentStore store(problem, budget, {});
  Construction(problem, store).complete(budget);
  EXPECT_FALSE(store.is_optimal());
  store.state_bounds({{"load", *store.makespan(), ""}});
  EXPECT_TRUE(store.is_optimal());
  EXPECT_TRUE(store.is_final());
}

}  // namespace
}  // namespace opweave
