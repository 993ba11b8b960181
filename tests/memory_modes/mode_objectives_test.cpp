#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

#include "memory_modes/mode_problems.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/memory_modes.h"

namespace opweave {
namespace {

using testing::best_of_all_choices;
using testing::first_of;
using testing::ModeChain;

PlannerOptions with_objectives(std::vector<Objective> objectives) {
  PlannerOptions options;
  options.objectives = std::move(objectives);
  return options;
}

Problem with_limit(const Problem& problem, std::int64_t memory) {
  ProblemSettings settings = problem.settings();
  settings.memory_limit = Bytes(memory);
  return Problem::create(problem.graph(), problem.cluster(), std::move(settings));
}

/// F0 F1 B1 B0 on one device, each F keeping 100 bytes and handing on 1.
ModeChain layers_to_make_again() {
  ModeChain chain;
  chain.layers = {{10, 20, 100, "d0"}, {10, 20, 100, "d0"}};
  chain.modes = {true, false};
  return chain;
}

TEST(ModeObjectives, least_memory_makes_again_what_a_short_plan_keeps) {
  const Problem problem = layers_to_make_again().problem();
  const auto plan = [&](std::vector<Objective> objectives) {
    const PlanResult result =
        plan_with_memory_modes(problem, Budget({}, 2'000), with_objectives(std::move(objectives)));
    EXPECT_TRUE(result.plan) << result.detail;
    EXPECT_EQ(first_of(check(problem.graph(), problem.cluster(), *result.plan)), "");
    EXPECT_EQ(result.plan->status, PlanStatus::kOptimal);
    return *result.plan;
  };
  // 10 + 10 + 20 + 20 in a row. B1 reads its 100 bytes and the 1 handed to it, and makes 1, beside those of F0.
  const Plan shortest = plan({Objective::kMakespan, Objective::kPeakMemory});
  EXPECT_EQ(shortest.statistics.makespan, Duration(60));
  EXPECT_EQ(shortest.objectives.at(1).value, 202);
  // Those of F0 come back when those of F1 are gone: F0 runs twice.
  const Plan least = plan({Objective::kPeakMemory, Objective::kMakespan});
  EXPECT_EQ(least.objectives.at(0).value, 102);
  EXPECT_EQ(least.objectives.at(1).value, 70);
  EXPECT_EQ(least.settings, problem.settings());
}

TEST(ModeObjectives, keep_the_deadline_or_say_why_none_can) {
  const Problem problem = layers_to_make_again().problem();
  PlannerOptions options = with_objectives({Objective::kPeakMemory});
  options.deadline = Duration(69);  // too early for a second run of F0
  const PlanResult kept = plan_with_memory_modes(problem, Budget({}, 2'000), options);
  ASSERT_TRUE(kept.plan) << kept.detail;
  EXPECT_EQ(kept.plan->objectives.at(0).value, 202);
  EXPECT_EQ(kept.plan->deadline, Duration(69));
  options.deadline = Duration(59);
  const PlanResult none = plan_with_memory_modes(problem, Budget({}, 2'000), options);
  EXPECT_FALSE(none.plan);
  EXPECT_EQ(none.reason, PlanResult::Reason::kInfeasible);
  EXPECT_NE(none.detail.find("none can end by the deadline of 59 ns"), std::string::npos) << none.detail;
}

// Below the peak that is found, exhaustive search finds no plan; at it, none that is shorter.
TEST(ModeObjectives, agree_with_exhaustive_search_over_all_choices) {
  std::uint64_t compared = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    testing::Random random(seed);
    ModeChain chain = testing::random_chain(random);
    if (!chain.modes.any()) continue;
    const Problem problem = chain.problem();
    std::size_t count = 0;
    const std::optional<Duration> shortest = best_of_all_choices(problem, count);
    if (count > testing::kMostChoices) continue;
    const PlanResult result = plan_with_memory_modes(problem, Budget({}, 20'000),
                                                     with_objectives({Objective::kPeakMemory, Objective::kMakespan}));
    ASSERT_EQ(result.plan.has_value(), shortest.has_value()) << "seed " << seed << ": " << result.detail;
    if (!result.plan) continue;
    EXPECT_EQ(first_of(check(problem.graph(), problem.cluster(), *result.plan)), "") << "seed " << seed;
    const ObjectiveFigure& peak = result.plan->objectives.at(0);
    const ObjectiveFigure& makespan = result.plan->objectives.at(1);
    EXPECT_FALSE(best_of_all_choices(with_limit(problem, peak.value - 1), count)) << "seed " << seed;
    const auto best = best_of_all_choices(with_limit(problem, peak.value), count);
    ASSERT_TRUE(best) << "seed " << seed;
    EXPECT_EQ(makespan.value, best->value()) << "seed " << seed;
    EXPECT_LE(peak.bound, peak.value) << "seed " << seed;
    EXPECT_LE(makespan.bound, makespan.value) << "seed " << seed;
    ++compared;
  }
  EXPECT_GT(compared, 15U);
}

TEST(ModeObjectives, end_with_a_plan_when_they_are_interrupted) {
  ModeChain chain = layers_to_make_again();
  chain.microbatches = 30;
  const Problem problem = chain.problem();
  std::atomic<bool> stop = false;
  PlannerOptions options = with_objectives({Objective::kPeakMemory, Objective::kMakespan});
  options.on_progress = [&](const Progress&) { stop = true; };  // at the first plan
  Budget budget(60.0, std::nullopt);
  budget.watch(&stop);
  const PlanResult result = plan_with_memory_modes(problem, budget, options);
  ASSERT_TRUE(result.plan) << result.detail;
  EXPECT_EQ(result.limit, "interrupt");
  EXPECT_LT(budget.elapsed(), 10);
  EXPECT_EQ(first_of(check(problem.graph(), problem.cluster(), *result.plan)), "");
}

}  // namespace
}  // namespace opweave
