#include <gtest/gtest.h>

#include <cstdlib>

#include "layouts/layout_mode_problems.h"
#include "opweave/check_layouts.h"
#include "opweave/error.h"
#include "opweave/simulate.h"
#include "support/brute_force.h"

namespace opweave {
namespace {

/// OPWEAVE_TEST_PROBLEMS=500 asks for more problems.
std::uint64_t problems_with_modes() {
  const char* text = std::getenv("OPWEAVE_TEST_PROBLEMS");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : 60;
}

/// So that each choice is planned by the complete program too.
constexpr std::uint64_t kWorkPerChoice = 2000;

/// Of each exhaustive search: those of longer ones are left out.
constexpr std::uint64_t kMostNodes = 30'000;

struct OptimumWithModes {
  bool is_complete = true;
  std::optional<Duration> makespan;
  std::optional<Duration> kept;  ///< with everything kept
  std::uint64_t choices = 0;
  bool has_many_choices = false;  ///< of one selection, more than the planner tries one by one, or of all
};

void expect_accepted(const LayoutProblem& problem, const LayoutPlan& plan) {
  const auto violations = check(problem.graph(), problem.cluster(), plan);
  ASSERT_TRUE(violations.empty()) << to_string(violations.front().rule) << ": " << violations.front().message << "\n"
                                  << layout_plan_to_json(plan, problem.graph(), problem.cluster());
}

/// All selections, all choices of memory modes, all schedules of each; every optimum is accepted by `check`.
OptimumWithModes optimum_with_modes(const LayoutProblem& problem) {
  constexpr std::uint64_t kMostOfSelection = 81;
  constexpr std::uint64_t kMostOfAll = 200;
  OptimumWithModes result;
  std::vector<DerivedProblem> selections;
  testing::for_each_selection(problem, [&](const LayoutSelection& selection) {
    try {
      selections.push_back(DerivedProblem::create(problem, selection));
    } catch (const InputError&) {
      return;  // no movement makes a layout
    }
    const std::uint64_t count = testing::count_choices(selections.back());
    result.choices += count;
    result.has_many_choices |= count > kMostOfSelection || result.choices > kMostOfAll;
  });
  if (result.has_many_choices) return result;
  for (const DerivedProblem& derived : selections) {
    testing::for_each_choice_of_modes(derived, [&](const ProblemWithMovements& choice) {
      if (!result.is_complete) return;
      const testing::ExactAnswer answer = testing::brute_force(choice.problem(), kMostNodes);
      result.is_complete = result.is_complete && answer.finished;
      if (!answer.best) return;
      const LayoutPlan plan = derived.plan(choice, *answer.best, {}, {});
      expect_accepted(problem, plan);
      const Duration makespan = plan.plan.statistics.makespan;
      result.makespan = std::min(result.makespan.value_or(makespan), makespan);
      if (plan.modes.empty()) result.kept = std::min(result.kept.value_or(makespan), makespan);
    });
  }
  return result;
}

TEST(LayoutsWithModes, the_search_finds_the_optimum_of_all_choices_and_no_bound_is_above_it) {
  std::uint64_t compared = 0;
  std::uint64_t settled = 0;
  std::uint64_t with_modes = 0;
  std::uint64_t without_plan = 0;
  for (std::uint64_t seed = 1; seed <= problems_with_modes(); ++seed) {
    SCOPED_TRACE(seed);
    const LayoutProblem problem = testing::RandomLayoutModeProblem(seed).problem();
    const OptimumWithModes optimum = optimum_with_modes(problem);
    if (HasFatalFailure()) return;
    if (optimum.has_many_choices) continue;
    ++compared;
    const LayoutPlanResult found =
        plan_with_layouts(problem, Budget({}, kWorkPerChoice * std::max<std::uint64_t>(optimum.choices, 10)));
    if (found.plan) {
      expect_accepted(problem, *found.plan);
      const std::string text = layout_plan_to_json(*found.plan, problem.graph(), problem.cluster());
      const LayoutPlan again = parse_layout_plan(text, "plan.json", problem.graph(), problem.cluster());
      EXPECT_EQ(layout_plan_to_json(again, problem.graph(), problem.cluster()), text);
      const auto derived = DerivedProblem::create(problem, problem.selection_of(again));
      const OrdinaryPlan ordinary = derived.with_movements(again);
      const Schedule schedule = to_schedule(ordinary.movements.problem(), ordinary.plan);
      EXPECT_EQ(
          layout_plan_to_json(derived.plan(ordinary.movements, schedule, again.plan.bounds, again.plan.provenance),
                              problem.graph(), problem.cluster()),
          text);
    }
    if (!optimum.is_complete) continue;
    ++settled;
    ASSERT_EQ(found.plan.has_value(), optimum.makespan.has_value()) << found.result.detail;
    if (!optimum.makespan) {
      ++without_plan;
      continue;
    }
    with_modes += optimum.makespan != optimum.kept ? 1 : 0;
    EXPECT_EQ(found.plan->plan.statistics.makespan, *optimum.makespan);
    for (const LowerBound& bound : found.plan->plan.bounds) EXPECT_LE(bound.value, *optimum.makespan) << bound.name;
  }
  RecordProperty("settled", static_cast<int>(settled));
  RecordProperty("with_modes", static_cast<int>(with_modes));
  RecordProperty("without_plan", static_cast<int>(without_plan));
  RecordProperty("compared", static_cast<int>(compared));
  EXPECT_GE(10 * compared, 7 * problems_with_modes());  // else this proves little
  EXPECT_GE(10 * settled, 8 * compared);
  EXPECT_GE(50 * with_modes, compared);  // keeping everything takes longer, or does not fit
  EXPECT_LT(2 * without_plan, compared);
}

TEST(LayoutsWithModes, the_complete_programs_find_the_same_optimum) {
  int proven = 0;
  const std::uint64_t count = problems_with_modes() / 6;
  for (std::uint64_t seed = 1; seed <= count; ++seed) {
    SCOPED_TRACE(seed);
    const LayoutProblem problem = testing::RandomLayoutModeProblem(seed).problem();
    const OptimumWithModes optimum = optimum_with_modes(problem);
    if (optimum.has_many_choices || !optimum.is_complete || !optimum.makespan || optimum.choices > 40) continue;
    for (const Method method : {Method::kCp, Method::kMipDisjunctive, Method::kMipTimeIndexed}) {
      PlannerOptions options;
      options.method = method;
      const LayoutPlanResult found = plan_with_layouts(problem, Budget({}, 200'000), options);
      ASSERT_TRUE(found.plan) << to_string(method) << ": " << found.result.detail;
      EXPECT_GE(found.plan->plan.statistics.makespan, *optimum.makespan) << to_string(method);
      if (found.plan->plan.status != PlanStatus::kOptimal) continue;
      EXPECT_EQ(found.plan->plan.statistics.makespan, *optimum.makespan) << to_string(method);
      ++proven;
    }
  }
  EXPECT_GE(proven, static_cast<int>(count));
}

}  // namespace
}  // namespace opweave
