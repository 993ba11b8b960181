#include "list_scheduling/justification.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "list_scheduling/in_flight_limit.h"
#include "list_scheduling/list_scheduler.h"
#include "list_scheduling/priority_rules.h"
#include "list_scheduling/reference_order.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/plan.h"
#include "placement/placement.h"
#include "support/random_problems.h"
#include "support/random_training_pipelines.h"
#include "support/tiny_diamond.h"
#include "support/violation.h"

namespace opweave {
namespace {

/// Calls see(problem, placed) for placements of random problems that can be run serially.
template <class See>
void for_random_placements(std::uint64_t seeds, See see) {
  testing::RandomShape shape;
  shape.most_tasks = 40;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    std::optional<Problem> problem;
    try {
      problem = testing::random_problem(seed, shape).problem();
    } catch (const InputError&) {
      continue;  // shared parameters without a common device
    }
    for (const PlacementGuess& guess : guess_placements(*problem)) {
      const auto placed = PlacedProblem::create(*problem, guess.modes);
      if (placed && reference_order(*placed).fits) see(*problem, *placed);
    }
  }
}

// Streams, precedence and lifetimes are the same read from either end, so a schedule of the mirror is one of the
// problem.
TEST(Justification, a_schedule_of_the_mirrored_problem_is_valid_when_read_backwards) {
  std::size_t seen = 0;
  for_random_placements(150, [&](const Problem& problem, const PlacedProblem& placed) {
    const ReferenceOrder forward = reference_order(placed);
    const PlacedProblem mirror = placed.mirrored();
    // The serial plan ends to start: it fits the mirror because it fits the problem.
    std::vector<std::int64_t> priority(placed.activity_count());
    for (std::size_t i = 0; i < forward.activities.size(); ++i) {
      priority[forward.activities[i]] = static_cast<std::int64_t>(forward.activities.size() - i);
    }
    const ReferenceOrder reference = reference_order(mirror, priority);
    ASSERT_TRUE(reference.fits);
    std::vector<std::int64_t> starts = list_schedule(mirror, reference, priority);
    std::int64_t end = 0;
    for (ActivityId activity = 0; activity < placed.activity_count(); ++activity)
      end = std::max(end, starts[activity] + placed.duration(activity));
    for (ActivityId activity = 0; activity < placed.activity_count(); ++activity)
      starts[activity] = end - starts[activity] - placed.duration(activity);
    ASSERT_EQ(testing::violation(problem, placed.schedule(starts)), "");
    ++seen;
  });
  EXPECT_GT(seen, 80U);
}

TEST(Justification, gives_valid_schedules_that_are_never_longer) {
  std::size_t shorter = 0;
  for_random_placements(100, [&](const Problem& problem, const PlacedProblem& placed) {
    const ReferenceOrder reference = reference_order(placed);
    for (const PriorityRule& rule : priority_rules(placed, reference)) {
      const std::vector<std::int64_t> starts = list_schedule(placed, reference, rule.priority);
      const Duration before = placed.schedule(starts).makespan(problem);
      const Schedule after = placed.schedule(justify(placed, starts, Budget()));
      ASSERT_EQ(testing::violation(problem, after), "");
      ASSERT_LE(after.makespan(problem), before);
      shorter += after.makespan(problem) < before ? 1U : 0U;
    }
  });
  EXPECT_GT(shorter, 20U);
}

// One microbatch after the other (a limit of one, to its end) fills one device at a time; justified the
// microbatches overlap as far as memory lets them, which is far shorter where more than one fits.
TEST(Justification, makes_a_pipeline_of_one_microbatch_after_the_other) {
  std::size_t overlapped = 0;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    const testing::TrainingPipeline random = testing::random_training_pipeline(seed, 6, 12);
    const Problem& problem = random.problem;
    const auto modes = guess_placements(problem).front().modes;
    const auto narrow = PlacedProblem::create(problem, modes, in_flight_edges(problem, {1, 1.0}));
    const auto placed = PlacedProblem::create(problem, modes);
    const ReferenceOrder reference = reference_order(*narrow);
    ASSERT_TRUE(reference.fits);
    const auto starts = list_schedule(*narrow, reference, priority_rules(*narrow, reference).front().priority);
    const Schedule after = placed->schedule(justify(*placed, starts, Budget()));
    ASSERT_EQ(testing::violation(problem, after), "") << random.name;
    overlapped += after.makespan(problem) * 2 < placed->schedule(starts).makespan(problem) ? 1U : 0U;
  }
  EXPECT_GE(overlapped, 4U);
}

// One device runs p (1) and then q (1), for whose end r (5) on another device waits: 1 + 1 + 5 = 7. From the end, r and
// p are last and q comes before r; read forwards q goes first: 1 + 5 = 6.
TEST(Justification, moves_what_can_wait_behind_what_is_waited_for) {
  std::vector<Operator> operators(3);
  const std::int64_t durations[] = {1, 1, 5};
  const char* names[] = {"p", "q", "r"};
  for (std::size_t i = 0; i < 3; ++i) {
    operators[i].name = names[i];
    operators[i].durations = {{"", Duration(durations[i])}};
    operators[i].devices = {{i < 2 ? "d0" : "d1"}};
  }
  operators[2].after = {OperatorId(1)};
  const Problem problem = Problem::create(ComputationGraph::create("two chains", std::move(operators), {}, {}, {}),
                                          testing::tiny_cluster());
  const auto placed = PlacedProblem::create(problem, {0, 0, 0});
  EXPECT_EQ(justify(*placed, {0, 1, 2}, Budget()), (std::vector<std::int64_t>{1, 0, 1}));
}

TEST(Justification, leaves_a_schedule_alone_when_the_time_is_over) {
  for_random_placements(5, [&](const Problem&, const PlacedProblem& placed) {
    const ReferenceOrder reference = reference_order(placed);
    const auto starts = list_schedule(placed, reference, priority_rules(placed, reference).back().priority);
    EXPECT_EQ(justify(placed, starts, Budget(0.0, std::nullopt)), starts);
  });
}

}  // namespace
}  // namespace opweave
