// All exact methods and brute force on random tiny problems with modes, gangs, streams, transfers under each contention
// model, memory, parameters, microbatches and replicas.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <map>

#include "exact/cp_formulation.h"
#include "exact/solve.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/plan.h"
#include "support/brute_force.h"
#include "support/random_problems.h"

namespace opweave::exact {
namespace {

std::vector<std::string> violations(const Problem& problem, const Schedule& schedule) {
  const Plan plan = make_plan(problem, schedule, {{"none", Duration(), ""}}, {});
  std::vector<std::string> messages;
  for (const Violation& violation : check(problem.graph(), problem.cluster(), plan)) {
    messages.push_back(violation.message);
  }
  return messages;
}

TEST(ExactAgreement, constraint_program_finds_the_optimum_of_brute_force) {
  if (const std::string reason = cp_sat_engine()->unavailable_because(); !reason.empty()) GTEST_SKIP() << reason;
  int optima = 0;
  int infeasible = 0;
  const char* count = std::getenv("COUNT");
  for (std::uint64_t seed = 1; seed <= (count ? std::strtoull(count, nullptr, 10) : 50); ++seed) {
    SCOPED_TRACE(seed);
    std::optional<Problem> problem;
    try {
      problem = opweave::testing::random_problem(seed).problem();
    } catch (const InputError&) {
      continue;
    }
    const auto truth = opweave::testing::brute_force(*problem, 2'000'000);
    if (!truth.finished) continue;
    const ExactAnswer answer = solve_exactly(*problem, nullptr, Budget(20.0, std::nullopt));
    if (!truth.best) {
      EXPECT_EQ(answer.status, ExactAnswer::Status::kInfeasible) << answer.message;
      ++infeasible;
      continue;
    }
    ASSERT_EQ(answer.status, ExactAnswer::Status::kOptimal) << answer.message << " " << answer.bound.value();
    EXPECT_EQ(answer.bound, truth.best->makespan(*problem));
    EXPECT_EQ(answer.schedule->makespan(*problem), truth.best->makespan(*problem));
    EXPECT_EQ(violations(*problem, *answer.schedule), std::vector<std::string>());
    ++optima;
    // A valid schedule is a solution of the model.
    const auto space = std::make_shared<const ScheduleSpace>(*problem, exact_unit(*problem));
    const CpFormulation formulation(space);
    const auto values = formulation.values_of(*truth.best);
    EXPECT_EQ(formulation.model().violation(values), "");
  }
  std::cout << optima << " optima, " << infeasible << " infeasible\n";
}

}  // namespace
}  // namespace opweave::exact
