#include "partition/cut_program.h"

#include <gtest/gtest.h>

#include "exact/engine.h"
#include "partition/random_models.h"

namespace opweave::testing {
namespace {

using partition::Assignment;
using partition::CutModel;

/// The first assignment that obeys the model, counting up; nothing if there is none.
std::optional<Assignment> first_assignment(const CutModel& model) {
  Assignment assignment(model.vertex_count());
  while (partition::largest_load(model, assignment) == std::numeric_limits<double>::infinity()) {
    std::size_t digit = 0;
    while (digit < assignment.size() && ++assignment[digit] == model.device_count()) assignment[digit++] = 0;
    if (digit == assignment.size()) return std::nullopt;
  }
  return assignment;
}

TEST(CutProgram, finds_and_proves_the_least_load) {
  if (!exact::cp_sat_engine()->unavailable_because().empty()) GTEST_SKIP() << "no OR-Tools library";
  std::mt19937_64 random(71);
  int improved = 0;
  int solved = 0;
  for (int round = 0; round < 60; ++round) {
    const CutModel model = random_model(random, 6, static_cast<std::uint32_t>(2 + round % 2), round % 2);
    const auto start = first_assignment(model);
    if (!start) continue;
    const double least = least_load(model, [](const Assignment&) { return true; });
    double best = partition::largest_load(model, *start);
    partition::CutProgramOptions options;
    options.on_improvement = [&](const Assignment& assignment) {
      const double load = partition::largest_load(model, assignment);
      EXPECT_LT(load, best) << "round " << round;
      best = load;
      ++improved;
    };
    // Thousands of deterministic seconds: such models are solved long before.
    const double bound = partition::solve_cut_program(model, *start, Budget(std::nullopt, 1'000'000'000), options);
    EXPECT_DOUBLE_EQ(best, least) << "round " << round;
    EXPECT_LE(bound, least * (1 + 1e-9)) << "round " << round;
    EXPECT_GE(bound, least * (1 - 1e-9)) << "round " << round;
    ++solved;
  }
  EXPECT_GT(solved, 40);
  EXPECT_GT(improved, 40);
}

TEST(CutProgram, gives_the_bound_back_where_no_time_is_left) {
  std::mt19937_64 random(5);
  const CutModel model = random_model(random, 6, 3, 1);
  const auto start = first_assignment(model);
  ASSERT_TRUE(start.has_value());
  partition::CutProgramOptions options;
  options.bound = partition::largest_load(model, *start) / 2;
  const double bound = partition::solve_cut_program(model, *start, Budget(0.0, std::nullopt), options);
  EXPECT_GE(bound, options.bound);
  EXPECT_LE(bound, partition::largest_load(model, *start));
}

}  // namespace
}  // namespace opweave::testing
