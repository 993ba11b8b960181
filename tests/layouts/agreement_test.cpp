#include <gtest/gtest.h>

#include <cstdlib>

#include "layouts/layout_bounds.h"
#include "layouts/layout_problems.h"
#include "opweave/check_layouts.h"
#include "opweave/error.h"
#include "support/brute_force.h"

namespace opweave {
namespace {

/// More problems than every run can afford: OPWEAVE_TEST_PROBLEMS=500.
std::uint64_t problem_count() {
  const char* text = std::getenv("OPWEAVE_TEST_PROBLEMS");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : 150;
}

struct Optimum {
  bool is_complete = true;
  std::optional<Duration> makespan;
};

/// All selections, all schedules of each.
Optimum optimum_of(const LayoutProblem& problem) {
  Optimum result;
  testing::for_each_selection(problem, [&](const LayoutSelection& selection) {
    std::optional<DerivedProblem> derived;
    try {
      derived = DerivedProblem::create(problem, selection);
    } catch (const InputError&) {
      return;
    }
    const testing::ExactAnswer answer = testing::brute_force(derived->problem(), 300'000);
    result.is_complete = result.is_complete && answer.finished;
    if (!answer.best) return;
    const Duration makespan = derived->plan(*answer.best, {}, {}).plan.statistics.makespan;
    result.makespan = std::min(result.makespan.value_or(makespan), makespan);
  });
  return result;
}

void expect_rejected(const LayoutProblem& problem, const LayoutPlan& plan, Rule rule, const char* what) {
  bool found = false;
  std::string said;
  for (const Violation& violation : check(problem.graph(), problem.cluster(), plan)) {
    found = found || violation.rule == rule;
    said += std::string(to_string(violation.rule)) + ": " + violation.message + "; ";
  }
  EXPECT_TRUE(found) << what << ", expected rule " << to_string(rule) << ", said " << said;
}

/// Every movement, spoiled in every way that no plan may have.
void expect_spoiled_plans_rejected(const LayoutProblem& problem, const LayoutPlan& plan) {
  for (std::size_t i = 0; i < plan.movements.size(); ++i) {
    const Rule rule = plan.movements[i].key.moved == Moved::kTensor ? Rule::kMovement : Rule::kReduction;
    LayoutPlan spoiled = plan;
    spoiled.movements.erase(spoiled.movements.begin() + static_cast<std::ptrdiff_t>(i));
    expect_rejected(problem, spoiled, rule, "a movement less");
    spoiled = plan;
    spoiled.movements.push_back(plan.movements[i]);
    expect_rejected(problem, spoiled, rule, "a movement twice");
    spoiled = plan;
    spoiled.movements[i].end += Duration(1);
    expect_rejected(problem, spoiled, rule, "a movement too long");
    spoiled = plan;
    spoiled.movements[i].kind = plan.movements[i].kind == LayoutMovementKind::kSend ? LayoutMovementKind::kAllReduce
                                                                                    : LayoutMovementKind::kSend;
    expect_rejected(problem, spoiled, rule, "a movement of another kind");
    spoiled = plan;
    spoiled.movements[i].devices.pop_back();
    expect_rejected(problem, spoiled, rule, "a movement on fewer devices");
    spoiled = plan;
    spoiled.movements[i].key.copy += 9;
    expect_rejected(problem, spoiled, rule, "a movement of another microbatch");
  }
  LayoutPlan spoiled = plan;
  spoiled.options.front() += "x";
  expect_rejected(problem, spoiled, Rule::kOption, "an unknown option");
  spoiled = plan;
  spoiled.plan.statistics.devices[1].peak_memory += Bytes(1);
  expect_rejected(problem, spoiled, Rule::kFigures, "another peak");
}

TEST(LayoutAgreement, the_search_finds_the_optimum_of_all_selections_and_no_bound_is_above_it) {
  std::uint64_t settled = 0;
  std::uint64_t without_plan = 0;
  std::uint64_t movements = 0;
  for (std::uint64_t seed = 1; seed <= problem_count(); ++seed) {
    SCOPED_TRACE(seed);
    const LayoutProblem problem = testing::RandomLayoutProblem(seed).problem();
    const Optimum optimum = optimum_of(problem);
    const LayoutPlanResult found = plan_with_layouts(problem, Budget({}, 20000));
    if (found.plan) {
      const auto violations = check(problem.graph(), problem.cluster(), *found.plan);
      ASSERT_TRUE(violations.empty()) << to_string(violations.front().rule) << ": " << violations.front().message;
      const std::string text = layout_plan_to_json(*found.plan, problem.graph(), problem.cluster());
      const LayoutPlan again = parse_layout_plan(text, "plan.json", problem.graph(), problem.cluster());
      EXPECT_EQ(layout_plan_to_json(again, problem.graph(), problem.cluster()), text);
      const auto derived = DerivedProblem::create(problem, problem.selection_of(again));
      EXPECT_EQ(layout_plan_to_json(derived.plan(derived.schedule(again), again.plan.bounds, again.plan.provenance),
                                    problem.graph(), problem.cluster()),
                text);
      expect_spoiled_plans_rejected(problem, *found.plan);
      movements += found.plan->movements.size();
    }
    if (!optimum.is_complete) continue;
    ++settled;
    ASSERT_EQ(found.plan.has_value(), optimum.makespan.has_value()) << found.result.detail;
    if (!optimum.makespan) {
      ++without_plan;
      continue;
    }
    EXPECT_EQ(found.plan->plan.statistics.makespan, *optimum.makespan);
    for (const LowerBound& bound : found.plan->plan.bounds) EXPECT_LE(bound.value, *optimum.makespan) << bound.name;
  }
  RecordProperty("settled", static_cast<int>(settled));
  RecordProperty("without_plan", static_cast<int>(without_plan));
  EXPECT_GE(10 * settled, 8 * problem_count());  // else this proves little
  EXPECT_LT(2 * without_plan, problem_count());
  EXPECT_GE(movements, problem_count() / 2);
}

TEST(LayoutAgreement, the_complete_programs_find_the_same_optimum) {
  int proven = 0;
  for (std::uint64_t seed = 1; seed <= problem_count() / 10; ++seed) {
    SCOPED_TRACE(seed);
    const LayoutProblem problem = testing::RandomLayoutProblem(seed).problem();
    const Optimum optimum = optimum_of(problem);
    if (!optimum.is_complete || !optimum.makespan) continue;
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
  EXPECT_GE(proven, static_cast<int>(problem_count() / 10 * 2));
}

}  // namespace
}  // namespace opweave
