// Integer programs out, solutions in: what HiGHS answers to the file becomes the plan that it finds itself.
#include "exact/model_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "exact/disjunctive_mip.h"
#include "exact/engine.h"
#include "exact/random_schedule.h"
#include "exact/schedule_space.h"
#include "exact/time_indexed_mip.h"
#include "opweave/error.h"
#include "support/tiny_diamond.h"

namespace opweave::exact {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(SolutionFile, of_highs_is_read_from_its_primal_columns_alone) {
  const auto values = parse_solution(
      "Model status\nOptimal\n\n# Primal solution values\nFeasible\nObjective 45\n# Columns 2\nC 45\ny_1_2 1\n"
      "# Rows 1\nc1 3\n\n# Dual solution values\nFeasible\n# Columns 2\nC 0\ny_1_2 0\n",
      "model.sol");
  EXPECT_THAT(values, ElementsAre(Pair("C", 45), Pair("y_1_2", 1)));
}

TEST(SolutionFile, of_gurobi_is_lines_of_name_and_value_with_comments) {
  const auto values =
      parse_solution("# Solution for model\r\n# Objective value = 45\r\nC 4.5e+01\r\ny_1_2\t1\r\n\r\n", "m.sol");
  EXPECT_THAT(values, ElementsAre(Pair("C", 45), Pair("y_1_2", 1)));
}

TEST(SolutionFile, that_is_none_is_rejected_with_its_line) {
  const auto message = [](std::string_view text) {
    try {
      (void)parse_solution(text, "m.sol");
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(message("C 45\ny_1_2 one\n"), "m.sol: line 2: expected a name and a number");
  EXPECT_EQ(message("C 45 46\n"), "m.sol: line 1: expected a name and a number");
  EXPECT_EQ(message("C\n"), "m.sol: line 1: expected a name and a number");
  EXPECT_EQ(message("C 45\nC 45\n"), "m.sol: line 2: column \"C\" appears twice");
}

/// Named columns and values of the best solution, as another solver would write them.
std::string solution_text(const Problem& problem, ExactMethod method, const Schedule& best) {
  const auto space = std::make_shared<const ScheduleSpace>(problem, exact_unit(problem));
  const std::int64_t horizon = space->unit().ticks(best.makespan(problem));
  std::string text = "# Objective value = ?\n";
  const auto add = [&](const auto& formulation) {
    const auto values = formulation.values_of(best);
    for (std::size_t c = 0; c < values.size(); ++c) {
      if (values[c] != 0) text += formulation.model().names()[c] + " " + std::to_string(values[c]) + "\n";
    }
  };
  if (method == ExactMethod::kDisjunctive) {
    add(DisjunctiveMip(space, horizon, true));
  } else {
    add(TimeIndexedMip(space, horizon, true));
  }
  return text;
}

class ModelFile : public ::testing::TestWithParam<ExactMethod> {};

TEST_P(ModelFile, solution_with_nonzeros_alone_becomes_the_schedule_that_it_states) {
  if (!cp_sat_engine()->unavailable_because().empty()) GTEST_SKIP() << cp_sat_engine()->unavailable_because();
  ExactOptions options;
  options.method = GetParam();
  std::size_t compared = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const auto problem = testing::problem_of_seed(seed);
    if (!problem) continue;
    const auto schedule = testing::random_schedule(*problem, seed);
    if (!schedule) continue;
    SCOPED_TRACE(seed);
    const Schedule back = read_integer_program_solution(
        *problem, &*schedule, solution_text(*problem, GetParam(), *schedule), "m.sol", options);
    EXPECT_LE(back.makespan(*problem), schedule->makespan(*problem));
    EXPECT_EQ(testing::violations(*problem, back), std::vector<std::string>());
    ++compared;
  }
  EXPECT_GT(compared, 15U);
}

TEST_P(ModelFile, solution_of_another_model_or_of_none_is_rejected) {
  const Problem problem = Problem::create(opweave::testing::tiny_diamond_graph(), opweave::testing::tiny_cluster());
  ExactOptions options;
  options.method = GetParam();
  const auto message = [&](std::string_view text) {
    try {
      (void)read_integer_program_solution(problem, nullptr, text, "m.sol", options);
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_THAT(message(""), HasSubstr("no column of the model"));
  EXPECT_THAT(message("x_g0_o0 1\nx_g99_o0 1\n"), HasSubstr("column \"x_g99_o0\" is not in the model"));
  EXPECT_THAT(message("x_g0_o0 1\n"), HasSubstr("no solution of the model"));  // the other groups are nowhere
}

INSTANTIATE_TEST_SUITE_P(Forms, ModelFile, ::testing::Values(ExactMethod::kDisjunctive, ExactMethod::kTimeIndexed),
                         [](const auto& info) {
                           return info.param == ExactMethod::kDisjunctive ? "disjunctive" : "time_indexed";
                         });

}  // namespace
}  // namespace opweave::exact
