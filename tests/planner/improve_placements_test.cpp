#include "planner/improve_placements.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "opweave/io.h"
#include "opweave/planner.h"
#include "planner/construction.h"
#include "support/random_training_steps.h"

namespace opweave {
namespace {

/// Enough for every search to schedule something.
constexpr std::uint64_t kWork = 6000;

PlannerOptions options_for(unsigned threads) {
  PlannerOptions options;
  options.threads = threads;
  options.method = Method::kHeuristic;
  return options;
}

testing::TrainingStep small_step(std::uint64_t seed) { return testing::random_training_step(seed, 12, 5, 6); }

/// What construction makes within the budget, best first.
std::vector<Start> guesses(const Problem& problem, const Budget& budget, IncumbentStore& store) {
  Construction construction(problem, store);
  construction.find_first(budget);
  construction.complete(budget);
  return construction.starts();
}

TEST(ImprovePlacements, gives_the_same_bytes_under_the_same_work_limit_with_any_number_of_threads) {
  const testing::TrainingStep step = small_step(3);
  std::string first;
  for (const unsigned threads : {1U, 2U, 4U}) {
    const PlanResult result = plan(step.problem, Budget(std::nullopt, kWork), options_for(threads));
    ASSERT_TRUE(result.plan) << step.name;
    Plan plan = *result.plan;
    plan.provenance = {};
    const std::string text = plan_to_json(plan, step.problem.graph(), step.problem.cluster());
    if (first.empty()) first = text;
    EXPECT_EQ(text, first) << threads;
  }
}

TEST(ImprovePlacements, more_work_never_gives_a_longer_step) {
  for (std::uint64_t seed = 1; seed <= 2; ++seed) {
    const testing::TrainingStep step = small_step(seed);
    std::optional<Duration> before;
    for (const std::uint64_t work : {kWork / 2, kWork, 2 * kWork}) {
      const PlanResult result = plan(step.problem, Budget(std::nullopt, work), options_for(1));
      ASSERT_TRUE(result.plan) << step.name;
      if (before) {
        EXPECT_LE(result.plan->statistics.makespan, *before) << step.name << " " << work;
      }
      before = result.plan->statistics.makespan;
    }
  }
}

TEST(ImprovePlacements, are_shorter_than_the_best_guess_in_most_steps) {
  int shorter = 0;
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    const testing::TrainingStep step = small_step(seed);
    const Budget budget;
    IncumbentStore store(step.problem, budget, {});
    const std::vector<Start> starts = guesses(step.problem, budget, store);
    const PlacementsFound found = search_placements(step.problem, budget, options_for(1), starts, 3 * kWork, store);
    if (!found.starts.empty() && found.starts.front().makespan < starts.front().makespan) ++shorter;
  }
  EXPECT_GE(shorter, 3);
}

TEST(ImprovePlacements, are_left_as_guessed_where_the_options_say_so) {
  const testing::TrainingStep step = small_step(1);
  const Budget budget;
  IncumbentStore store(step.problem, budget, {});
  std::vector<Start> starts = guesses(step.problem, budget, store);
  const std::size_t guessed = starts.size();
  PlannerOptions options = options_for(1);
  options.searches_placement = false;
  EXPECT_EQ(improve_placements(step.problem, budget, options, starts, kWork, store), 0U);
  EXPECT_EQ(starts.size(), guessed);
}

TEST(ImprovePlacements, find_valid_placements_other_than_those_they_begin_with) {
  const testing::TrainingStep step = small_step(2);
  const Budget budget;
  IncumbentStore store(step.problem, budget, {});
  const std::vector<Start> starts = guesses(step.problem, budget, store);
  const PlacementsFound found = search_placements(step.problem, budget, options_for(1), starts, kWork, store);
  ASSERT_FALSE(found.starts.empty());
  EXPECT_GT(found.orders, 0U);
  EXPECT_LE(found.orders, 2 * kWork);
  for (std::size_t i = 0; i < found.starts.size(); ++i) {
    EXPECT_TRUE(is_valid(step.problem, found.starts[i].schedule));
    if (i > 0) {
      EXPECT_LE(found.starts[i - 1].makespan, found.starts[i].makespan);
    }
    for (const Start& start : starts) {
      EXPECT_NE(start.schedule.modes(), found.starts[i].schedule.modes());
    }
  }
}

}  // namespace
}  // namespace opweave
