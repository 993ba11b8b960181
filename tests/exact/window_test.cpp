#include "exact/window.h"

#include <gtest/gtest.h>

#include "exact/engine.h"
#include "exact/random_schedule.h"
#include "support/brute_force.h"

namespace opweave::exact {
namespace {

using testing::problem_of_seed;
using testing::random_schedule;
using testing::violations;

class ImproveWindow : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = cp_sat_engine()->unavailable_because(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

TEST_F(ImproveWindow, with_all_tasks_finds_the_optimum) {
  int better = 0;
  for (std::uint64_t seed = 1; seed <= 120; ++seed) {
    SCOPED_TRACE(seed);
    const auto problem = problem_of_seed(seed);
    if (!problem) continue;
    const auto truth = opweave::testing::brute_force(*problem, 1'000'000);
    if (!truth.finished || !truth.best) continue;
    const auto schedule = random_schedule(*problem, seed);
    ASSERT_TRUE(schedule);
    ASSERT_EQ(violations(*problem, *schedule), std::vector<std::string>());
    std::vector<TaskId> all;
    for (std::size_t t = 0; t < problem->task_count(); ++t) all.emplace_back(t);
    const WindowAnswer answer = improve_window(*problem, *schedule, all, {});
    const Duration before = schedule->makespan(*problem);
    const Duration best = truth.best->makespan(*problem);
    EXPECT_TRUE(answer.exhausted) << answer.message;
    if (before > best) {
      ASSERT_EQ(answer.status, WindowAnswer::Status::kImproved) << answer.message;
      ++better;
    }
    if (!answer.schedule) continue;
    EXPECT_EQ(answer.schedule->makespan(*problem), best);
    EXPECT_EQ(violations(*problem, *answer.schedule), std::vector<std::string>());
  }
  EXPECT_GT(better, 5);
}

TEST_F(ImproveWindow, with_some_tasks_stays_valid_and_never_gets_longer) {
  int improved = 0;
  int moved = 0;
  for (std::uint64_t seed = 1; seed <= 120; ++seed) {
    SCOPED_TRACE(seed);
    opweave::testing::RandomShape shape;
    shape.most_tasks = 16;
    const auto problem = problem_of_seed(seed, shape);
    if (!problem || problem->task_count() < 4) continue;
    const auto schedule = random_schedule(*problem, seed);
    if (!schedule) continue;
    opweave::testing::Dice dice(seed);
    std::vector<TaskId> window;
    for (std::size_t t = 0; t < problem->task_count(); ++t) {
      if (dice.chance(35)) window.emplace_back(t);
    }
    // The schedule itself is a solution of its window's model, with its makespan.
    if (!window.empty()) {
      const TimeUnit unit = exact_unit(*problem);
      const Window frame = window_frame(*problem, unit, *schedule, window);
      const CpFormulation formulation(frame.space, frame.frame);
      const auto values = formulation.values_of(*schedule);
      EXPECT_EQ(formulation.model().defect(), "");
      EXPECT_EQ(formulation.model().violation(values), "");
    }
    const WindowAnswer answer = improve_window(*problem, *schedule, window, {});
    if (!answer.schedule) continue;
    EXPECT_EQ(violations(*problem, *answer.schedule), std::vector<std::string>());
    EXPECT_LE(answer.schedule->makespan(*problem), schedule->makespan(*problem));
    improved += answer.status == WindowAnswer::Status::kImproved ? 1 : 0;
    ++moved;
  }
  EXPECT_GT(moved, 20);
  EXPECT_GT(improved, 5);
}

}  // namespace
}  // namespace opweave::exact
