#include "placement_search/carried_moves.h"

#include <gtest/gtest.h>

#include <vector>

#include "list_scheduling/list_schedule.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/plan.h"
#include "placement/placement.h"
#include "support/random_training_steps.h"

namespace opweave {
namespace {

testing::TrainingStep step_of_twelve_layers(std::uint64_t seed) {
  return testing::random_training_step(seed, 12, 4, 6);
}

bool passes_check(const Problem& problem, const Schedule& schedule) {
  return check(problem.graph(), problem.cluster(), make_plan(problem, schedule, {}, {}), 1).empty();
}

/// The first guess that fits, list-scheduled.
Schedule first_guess(const Problem& problem) {
  for (const PlacementGuess& guess : guess_placements(problem)) {
    if (const auto schedule = shortest_list_schedule(problem, guess.modes, {})) return *schedule;
  }
  throw InternalError("no guess fits");
}

TEST(CarriedMoves, give_valid_steps_that_are_no_longer_and_mostly_shorter) {
  int shorter = 0;
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const testing::TrainingStep step = step_of_twelve_layers(seed);
    const Schedule start = first_guess(step.problem);
    Duration last = start.makespan(step.problem);
    const Schedule found = move_bundles(step.problem, start, {}, {seed, 20'000}, [&](const Schedule& schedule) {
      EXPECT_TRUE(passes_check(step.problem, schedule)) << step.name;
      EXPECT_LT(schedule.makespan(step.problem), last) << step.name;
      last = schedule.makespan(step.problem);
    });
    EXPECT_TRUE(passes_check(step.problem, found)) << step.name;
    EXPECT_EQ(found.makespan(step.problem), last) << step.name;
    if (found.modes() != start.modes() && last < start.makespan(step.problem)) ++shorter;
  }
  EXPECT_GE(shorter, 3);
}

TEST(CarriedMoves, are_the_same_for_the_same_seed_and_evaluations) {
  const testing::TrainingStep step = step_of_twelve_layers(2);
  const Schedule start = first_guess(step.problem);
  const auto found = [&] { return move_bundles(step.problem, start, {}, {7, 5'000}, {}); };
  const Schedule once = found();
  const Schedule again = found();
  EXPECT_EQ(once.modes(), again.modes());
  EXPECT_EQ(once.makespan(step.problem), again.makespan(step.problem));
}

TEST(CarriedMoves, end_with_the_evaluations) {
  const testing::TrainingStep step = step_of_twelve_layers(3);
  const Schedule start = first_guess(step.problem);
  const Schedule found = move_bundles(step.problem, start, {}, {1, 0}, {});
  EXPECT_EQ(found.modes(), start.modes());
  EXPECT_EQ(found.makespan(step.problem), start.makespan(step.problem));
}

}  // namespace
}  // namespace opweave
