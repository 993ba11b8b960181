#include "exact/solve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "exact/random_schedule.h"
#include "support/brute_force.h"
#include "support/tiny_diamond.h"

namespace opweave::exact {
namespace {

using ::testing::HasSubstr;
using testing::problem_of_seed;
using testing::violations;

bool solvers_are_there() {
  return highs_engine()->unavailable_because().empty() && cp_sat_engine()->unavailable_because().empty();
}

class SolveExactly : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!solvers_are_there()) GTEST_SKIP() << "no solver library";
  }
};

constexpr ExactMethod kMethods[] = {ExactMethod::kConstraintProgram, ExactMethod::kDisjunctive,
                                    ExactMethod::kTimeIndexed};

// One device: 10 + 20 + 30 + 5 = 65. Two: top 0-10, right 10-40, left over there 13-33 and back at 36, bottom 40-45.
TEST_F(SolveExactly, tiny_diamond_takes_45) {
  const Problem problem = Problem::create(opweave::testing::tiny_diamond_graph(), opweave::testing::tiny_cluster());
  for (const ExactMethod method : kMethods) {
    ExactOptions options;
    options.method = method;
    const ExactAnswer answer = solve_exactly(problem, nullptr, {}, options);
    ASSERT_EQ(to_string(answer.status), "optimal") << to_string(method) << ": " << answer.message;
    EXPECT_EQ(answer.schedule->makespan(problem), Duration(45));
    EXPECT_EQ(answer.bound, Duration(45));
  }
}

// "top" and "left" hold 100 bytes each at the end of "left", and 300 with the output of "right": one device of 299
// bytes cannot run the diamond, of 300 can.
TEST_F(SolveExactly, says_infeasible_where_memory_is_one_byte_short) {
  for (const ExactMethod method : kMethods) {
    ExactOptions options;
    options.method = method;
    ProblemSettings settings;
    settings.memory_limit = Bytes(300);
    ClusterParts parts = opweave::testing::tiny_cluster().parts();
    parts.devices.pop_back();
    const auto solve = [&] {
      return solve_exactly(Problem::create(opweave::testing::tiny_diamond_graph(), Cluster::create(parts), settings),
                           nullptr, {}, options);
    };
    const ExactAnswer enough = solve();
    ASSERT_EQ(to_string(enough.status), "optimal") << enough.message;
    EXPECT_EQ(enough.bound, Duration(65));
    settings.memory_limit = Bytes(299);
    EXPECT_EQ(to_string(solve().status), "infeasible");
  }
}

TEST_F(SolveExactly, is_never_worse_than_its_warm_start_and_tells_of_better_ones) {
  int tried = 0;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    const auto problem = problem_of_seed(seed);
    if (!problem) continue;
    const auto start = testing::random_schedule(*problem, seed);
    if (!start) continue;
    ++tried;
    for (const ExactMethod method : kMethods) {
      SCOPED_TRACE(std::to_string(seed) + std::string(to_string(method)));
      ExactOptions options;
      options.method = method;
      Duration last = start->makespan(*problem);
      const ExactAnswer answer =
          solve_exactly(*problem, &*start, Budget(20.0, std::nullopt), options, [&](const Schedule& better) {
            EXPECT_LT(better.makespan(*problem), last);
            last = better.makespan(*problem);
            EXPECT_EQ(violations(*problem, better), std::vector<std::string>());
          });
      ASSERT_TRUE(answer.schedule) << answer.message;
      EXPECT_EQ(to_string(answer.status), "optimal") << answer.message;
      EXPECT_EQ(answer.schedule->makespan(*problem), last);
    }
  }
  EXPECT_GT(tried, 5);
}

TEST_F(SolveExactly, an_expired_budget_gives_the_warm_start_back) {
  const auto problem = problem_of_seed(7);
  ASSERT_TRUE(problem);
  const auto start = testing::random_schedule(*problem, 7);
  ASSERT_TRUE(start);
  for (const ExactMethod method : kMethods) {
    ExactOptions options;
    options.method = method;
    const ExactAnswer answer = solve_exactly(*problem, &*start, Budget(0.0, std::nullopt), options);
    ASSERT_TRUE(answer.schedule);
    EXPECT_LE(answer.schedule->makespan(*problem), start->makespan(*problem));
  }
}

TEST_F(SolveExactly, a_model_beyond_the_limit_is_not_built) {
  const Problem problem = Problem::create(opweave::testing::tiny_diamond_graph(), opweave::testing::tiny_cluster());
  for (const ExactMethod method : kMethods) {
    ExactOptions options;
    options.method = method;
    options.most_intervals = 10;
    options.most_nonzeros = 10;
    const ExactAnswer answer = solve_exactly(problem, nullptr, {}, options);
    EXPECT_EQ(to_string(answer.status), "too large");
    EXPECT_THAT(answer.message, HasSubstr("expected at most 10"));
  }
}

TEST_F(SolveExactly, large_numbers_stay_exact_or_prove_nothing) {
  // A diamond in weeks and terabytes: bytes times nanoseconds overflow 64 bits.
  std::vector<Operator> operators = opweave::testing::tiny_diamond_graph().operators();
  std::vector<Tensor> tensors = opweave::testing::tiny_diamond_graph().tensors();
  for (Operator& op : operators)
    op.durations[0].duration = Duration(op.durations[0].duration.value() * 10'000'000'000'001);
  for (Tensor& tensor : tensors) tensor = {tensor.name, Bytes(1'000'000'000'007), {}, {}};
  tensors[2].size = Bytes(999'999'999'989);
  ProblemSettings settings;
  settings.memory_limit = Bytes(3'000'000'000'003);
  ClusterParts parts = opweave::testing::tiny_cluster().parts();
  parts.devices.pop_back();
  const Problem problem =
      Problem::create(ComputationGraph::create("large", std::move(operators), std::move(tensors), {}),
                      Cluster::create(parts), settings);
  // One device runs everything one after the other: 10 + 20 + 30 + 5. It fits, exactly.
  const Duration optimum(65 * 10'000'000'000'001);
  for (const ExactMethod method : kMethods) {
    SCOPED_TRACE(to_string(method));
    ExactOptions options;
    options.method = method;
    const ExactAnswer answer = solve_exactly(problem, nullptr, Budget(10.0, std::nullopt), options);
    EXPECT_NE(to_string(answer.status), "infeasible");
    EXPECT_LE(answer.bound, optimum);
    if (!answer.schedule) continue;
    EXPECT_EQ(violations(problem, *answer.schedule), std::vector<std::string>());
    EXPECT_EQ(answer.schedule->makespan(problem), optimum);
  }
}

TEST_F(SolveExactly, rounded_integer_programs_bound_from_below_and_schedule_from_above) {
  int tight = 0;
  int scheduled = 0;
  int compared = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    const auto problem = problem_of_seed(seed);
    if (!problem) continue;
    const auto truth = opweave::testing::brute_force(*problem, 1'000'000);
    if (!truth.finished || !truth.best) continue;
    const Duration best = truth.best->makespan(*problem);
    for (const ExactMethod method : {ExactMethod::kDisjunctive, ExactMethod::kTimeIndexed}) {
      SCOPED_TRACE(std::to_string(seed) + std::string(to_string(method)));
      ExactOptions options;
      options.method = method;
      options.most_ticks = std::max<std::int64_t>(1, best.value() / 2);
      const ExactAnswer answer = solve_exactly(*problem, nullptr, Budget(20.0, std::nullopt), options);
      EXPECT_NE(answer.status, ExactAnswer::Status::kInfeasible);
      EXPECT_LE(answer.bound, best);
      tight += answer.bound.value() * 10 >= best.value() * 7 ? 1 : 0;
      ++compared;
      if (!answer.schedule) continue;
      EXPECT_GE(answer.schedule->makespan(*problem), best);
      EXPECT_EQ(violations(*problem, *answer.schedule), std::vector<std::string>());
      ++scheduled;
    }
  }
  EXPECT_GT(tight, compared / 5);
  EXPECT_GT(scheduled, compared / 2);
}

TEST_F(SolveExactly, writes_its_integer_programs_for_others) {
  const Problem problem = Problem::create(opweave::testing::tiny_diamond_graph(), opweave::testing::tiny_cluster());
  const std::filesystem::path folder = ::testing::TempDir();
  ExactOptions options;
  options.method = ExactMethod::kDisjunctive;
  const std::string lp = folder / "diamond.lp";
  EXPECT_EQ(write_integer_program(problem, nullptr, lp, options), "");
  std::ifstream file(lp);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  EXPECT_THAT(text, HasSubstr("s_i0"));
  EXPECT_THAT(text, HasSubstr("x_g0_o1"));
  options.method = ExactMethod::kTimeIndexed;
  const std::string mps = folder / "diamond.mps";
  EXPECT_EQ(write_integer_program(problem, nullptr, mps, options), "");
  EXPECT_GT(std::filesystem::file_size(mps), 1000U);
  EXPECT_THAT(write_integer_program(problem, nullptr, "/nowhere/diamond.mps", options), HasSubstr("/nowhere"));
  std::filesystem::remove(lp);
  std::filesystem::remove(mps);
}

}  // namespace
}  // namespace opweave::exact
