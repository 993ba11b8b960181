// Where a problem is small, there is a plan or a proof that none exists, whatever the method and the work limit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "exact/engine.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/planner.h"
#include "support/brute_force.h"
#include "support/tight_problems.h"

namespace opweave {
namespace {

/// Problems to try; OPWEAVE_RANDOM_INSTANCES replaces the usual number.
std::uint64_t problem_count(std::uint64_t usual) {
  const char* count = std::getenv("OPWEAVE_RANDOM_INSTANCES");
  return count != nullptr ? std::strtoull(count, nullptr, 10) : usual;
}

/// Calls visit(problem, whether there is a plan) for random tight problems that brute force finishes.
template <class Visit>
void for_each_tight_problem(std::uint64_t count, Visit visit) {
  std::uint64_t seen = 0;
  for (std::uint64_t seed = 1; seen < count; ++seed) {
    std::optional<Problem> problem;
    try {
      testing::RandomProblem random = testing::tight_problem(seed);
      if (seed % 5 == 0) random = testing::enlarged(std::move(random), seed);
      problem = random.problem();
    } catch (const InputError&) {
      continue;
    }
    const auto truth = testing::brute_force(*problem, 2'000'000);
    if (!truth.finished) continue;
    ++seen;
    SCOPED_TRACE(seed);
    visit(*problem, truth.best.has_value());
  }
}

class TightProblems : public ::testing::TestWithParam<Method> {};

TEST_P(TightProblems, have_a_plan_or_a_proof_that_there_is_none) {
  int planned = 0;
  int infeasible = 0;
  for_each_tight_problem(problem_count(150), [&](const Problem& problem, bool has_plan) {
    for (const std::uint64_t work : {1, 300}) {
      PlannerOptions options;
      options.method = GetParam();
      const PlanResult result = plan(problem, Budget(std::nullopt, work), options);
      if (has_plan) {
        ++planned;
        ASSERT_EQ(result.reason, PlanResult::Reason::kPlanned) << "work " << work << ": " << result.detail;
        EXPECT_TRUE(check(problem.graph(), problem.cluster(), *result.plan).empty());
      } else if (options.method == Method::kHeuristic) {
        EXPECT_FALSE(result.plan);  // without a solver bounds alone prove something
        infeasible += result.reason == PlanResult::Reason::kInfeasible ? 1 : 0;
      } else {
        ++infeasible;
        EXPECT_EQ(result.reason, PlanResult::Reason::kInfeasible) << "work " << work << ": " << result.detail;
        EXPECT_NE(result.detail, "");
      }
    }
  });
  std::cout << planned << " plans, " << infeasible << " proofs\n";
  EXPECT_GT(planned, 50);
  EXPECT_GT(infeasible, 50);
}

INSTANTIATE_TEST_SUITE_P(Methods, TightProblems,
                         ::testing::Values(Method::kAuto, Method::kHeuristic, Method::kCp, Method::kMipDisjunctive,
                                           Method::kMipTimeIndexed),
                         [](const auto& info) {
                           std::string name;
                           for (const char c : to_string(info.param)) name += c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace opweave
