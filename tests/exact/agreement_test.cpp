// All exact methods and brute force on random tiny problems with modes, gangs, streams, transfers under each contention
// model, memory, parameters, microbatches and replicas.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <map>

#include "exact/cp_formulation.h"
#include "exact/disjunctive_mip.h"
#include "exact/lag_program.h"
#include "exact/random_schedule.h"
#include "exact/solve.h"
#include "exact/time_indexed_mip.h"
#include "support/brute_force.h"
#include "support/tight_problems.h"

namespace opweave::exact {
namespace {

using testing::violations;

/// Seeds to try, of which about four in five give a problem that brute force finishes; OPWEAVE_RANDOM_INSTANCES
/// replaces the usual number.
std::uint64_t instance_count(std::uint64_t usual) {
  const char* count = std::getenv("OPWEAVE_RANDOM_INSTANCES");
  return count != nullptr ? std::strtoull(count, nullptr, 10) : usual;
}
/// Enough for 500 problems.
constexpr std::uint64_t kManySeeds = 660;

std::optional<Problem> tight_problem_of_seed(std::uint64_t seed) {
  try {
    return opweave::testing::tight_problem(seed).problem();
  } catch (const InputError&) {
    return std::nullopt;
  }
}

/// Calls visit(problem, optimum or nothing) for random problems that brute force finishes.
template <class Visit>
void for_each_random_problem(std::uint64_t count, Visit visit) {
  for (std::uint64_t seed = 1; seed <= count; ++seed) {
    // Every third one has little memory, exclusions and few routes: about half of these have no schedule.
    const auto problem = seed % 3 == 0 ? tight_problem_of_seed(seed) : testing::problem_of_seed(seed);
    if (!problem) continue;
    const auto truth = opweave::testing::brute_force(*problem, 2'000'000);
    if (!truth.finished) continue;
    SCOPED_TRACE(seed);
    visit(*problem, truth.best);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

class ExactAgreement : public ::testing::TestWithParam<ExactMethod> {
 protected:
  void SetUp() override {
    const std::string reason = GetParam() == ExactMethod::kConstraintProgram ? cp_sat_engine()->unavailable_because()
                                                                             : highs_engine()->unavailable_because();
    if (!reason.empty()) GTEST_SKIP() << reason;
    options_.method = GetParam();
  }
  ExactOptions options_;
};

TEST_P(ExactAgreement, finds_and_proves_the_optimum_of_brute_force) {
  int optima = 0;
  int infeasible = 0;
  for_each_random_problem(instance_count(kManySeeds), [&](const Problem& problem, const std::optional<Schedule>& best) {
    const ExactAnswer answer = solve_exactly(problem, nullptr, Budget(30.0, std::nullopt), options_);
    if (!best) {
      EXPECT_EQ(to_string(answer.status), "infeasible") << answer.message;
      ++infeasible;
      return;
    }
    ASSERT_EQ(to_string(answer.status), "optimal") << answer.message << ", bound " << answer.bound.value();
    EXPECT_EQ(answer.bound, best->makespan(problem));
    EXPECT_EQ(answer.schedule->makespan(problem), best->makespan(problem));
    EXPECT_EQ(violations(problem, *answer.schedule), std::vector<std::string>());
    ++optima;
  });
  EXPECT_GT(optima, 0);
  if (instance_count(kManySeeds) >= kManySeeds) {
    EXPECT_GE(optima + infeasible, 500);
  }
  std::cout << to_string(GetParam()) << ": " << optima << " optima, " << infeasible << " infeasible\n";
}

// Solvers have been seen to answer wrongly where numbers are large. Where they are rounded, "unknown" is an answer.
TEST_P(ExactAgreement, never_contradicts_brute_force_on_large_numbers) {
  int with_schedule = 0;
  int near = 0;
  for (std::uint64_t seed = 1; seed <= instance_count(60); ++seed) {
    SCOPED_TRACE(seed);
    std::optional<Problem> problem;
    try {
      problem = opweave::testing::enlarged(opweave::testing::random_problem(seed), seed).problem();
    } catch (const InputError&) {
      continue;
    }
    const auto truth = opweave::testing::brute_force(*problem, 2'000'000);
    if (!truth.finished) continue;
    const ExactAnswer answer = solve_exactly(*problem, nullptr, Budget(1.0, std::nullopt), options_);
    EXPECT_NE(answer.status, ExactAnswer::Status::kFailed) << answer.message;
    if (!truth.best) {
      EXPECT_FALSE(answer.schedule) << to_string(answer.status);
      continue;
    }
    const Duration optimum = truth.best->makespan(*problem);
    EXPECT_NE(answer.status, ExactAnswer::Status::kInfeasible);
    EXPECT_LE(answer.bound, optimum);
    if (!answer.schedule) continue;
    EXPECT_EQ(violations(*problem, *answer.schedule), std::vector<std::string>());
    EXPECT_GE(answer.schedule->makespan(*problem), optimum);
    if (answer.status == ExactAnswer::Status::kOptimal) {
      EXPECT_EQ(answer.schedule->makespan(*problem), optimum);
    }
    ++with_schedule;
    near += 100 * answer.bound.value() >= 98 * optimum.value() ? 1 : 0;
  }
  EXPECT_GT(with_schedule, 5);
  EXPECT_GT(near, 2);
  std::cout << to_string(GetParam()) << ": " << with_schedule << " schedules, " << near << " with a bound within 2 %\n";
}

INSTANTIATE_TEST_SUITE_P(Methods, ExactAgreement,
                         ::testing::Values(ExactMethod::kConstraintProgram, ExactMethod::kDisjunctive,
                                           ExactMethod::kTimeIndexed),
                         [](const auto& info) {
                           std::string name;
                           for (const char c : to_string(info.param)) name += c == '-' ? '_' : c;
                           return name;
                         });

// The program leaves out waiting of transfers and most memory: it may say yes too early, and never no too late.
TEST(LagProgramAgreement, refutes_what_brute_force_refutes_and_never_more) {
  if (const std::string reason = cp_sat_engine()->unavailable_because(); !reason.empty()) GTEST_SKIP() << reason;
  int exact = 0;
  int relaxed = 0;
  int tight = 0;
  for_each_random_problem(instance_count(260), [&](const Problem& problem, const std::optional<Schedule>& best) {
    if (!best) return;
    const auto space = std::make_shared<const ScheduleSpace>(problem, exact_unit(problem));
    const std::int64_t optimum = space->unit().ticks(best->makespan(problem));
    const auto ask = [&](std::int64_t target) {
      const auto program = std::make_shared<const LagProgram>(space, target);
      const std::shared_ptr<const CpModel> model(program, &program->model());
      const Claim<CpModel> claim = run<CpModel>(cp_sat_engine(), model, {});
      EXPECT_TRUE(claim.status == EngineStatus::kOptimal || claim.status == EngineStatus::kInfeasible)
          << to_string(claim.status) << claim.message;
      return claim.has_solution() ? std::optional(program->read(claim.values)) : std::nullopt;
    };
    const auto met = ask(optimum);
    ASSERT_TRUE(met);
    const bool refutes = optimum == 0 || !ask(optimum - 1);
    if (LagProgram::is_exact(*space)) {
      EXPECT_TRUE(refutes);
      const auto schedule = retime(problem, *met);
      ASSERT_TRUE(schedule);
      EXPECT_EQ(schedule->makespan(problem), best->makespan(problem));
      EXPECT_EQ(violations(problem, *schedule), std::vector<std::string>());
      ++exact;
    } else {
      ++relaxed;
      tight += refutes ? 1 : 0;
    }
  });
  EXPECT_GT(exact, 5);
  EXPECT_GT(tight, 5);
  std::cout << exact << " exact; " << relaxed << " relaxed, the optimum of " << tight << " of them proven\n";
}

// Needs no solver: a valid schedule is a solution of every model, with its makespan as objective.
TEST(Formulations, hold_every_valid_schedule) {
  for_each_random_problem(instance_count(150), [&](const Problem& problem, const std::optional<Schedule>& best) {
    if (!best) return;
    const auto space = std::make_shared<const ScheduleSpace>(problem, exact_unit(problem));
    const std::int64_t makespan = space->unit().ticks(best->makespan(problem));
    // With room above the optimum, and without any.
    for (const std::int64_t limit : {makespan, makespan + 3}) {
      const CpFormulation cp(space, limit);
      const auto cp_values = cp.values_of(*best);
      EXPECT_EQ(cp.model().defect(), "");
      EXPECT_EQ(cp.model().violation(cp_values), "");
      EXPECT_EQ(cp.model().objective(cp_values), makespan);
      const LagProgram lags(space, limit);
      EXPECT_EQ(lags.model().defect(), "");
      EXPECT_EQ(lags.model().violation(lags.values_of(*best)), "");
      const DisjunctiveMip disjunctive(space, limit);
      const auto disjunctive_values = disjunctive.values_of(*best);
      EXPECT_EQ(disjunctive.model().defect(), "");
      EXPECT_EQ(disjunctive.model().violation(disjunctive_values), "");
      EXPECT_DOUBLE_EQ(disjunctive.model().objective(disjunctive_values), static_cast<double>(makespan));
      const TimeIndexedMip time_indexed(space, limit);
      const auto time_values = time_indexed.values_of(*best);
      EXPECT_EQ(time_indexed.model().defect(), "");
      EXPECT_EQ(time_indexed.model().violation(time_values), "");
      EXPECT_DOUBLE_EQ(time_indexed.model().objective(time_values), static_cast<double>(makespan));
      // And reading them gives a schedule as good.
      for (const RoughSchedule& rough :
           {cp.read(cp_values), disjunctive.read(disjunctive_values), time_indexed.read(time_values)}) {
        const auto schedule = retime(problem, rough);
        ASSERT_TRUE(schedule);
        EXPECT_EQ(schedule->makespan(problem), best->makespan(problem));
        EXPECT_EQ(violations(problem, *schedule), std::vector<std::string>());
      }
    }
  });
}

}  // namespace
}  // namespace opweave::exact
