#include <gtest/gtest.h>

#include <algorithm>

#include "list_scheduling/list_scheduler.h"
#include "list_scheduling/placed_problem.h"
#include "list_scheduling/priority_rules.h"
#include "list_scheduling/reference_order.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/partition.h"
#include "opweave/plan.h"
#include "support/random_problems.h"
#include "support/tiny_diamond.h"

namespace opweave::testing {
namespace {

void expect_valid(const Problem& problem, const PeriodAnswer& answer, const std::string& where) {
  ASSERT_TRUE(answer.schedule.has_value()) << where;
  const Plan plan = make_plan(problem, *answer.schedule, {}, {});
  const auto violations = check(problem.graph(), problem.cluster(), plan);
  EXPECT_TRUE(violations.empty()) << where << ": " << violations.front().message;
  EXPECT_EQ(plan.statistics.period, answer.period) << where;
  EXPECT_LE(answer.bound.value, answer.period) << where;
  EXPECT_EQ(answer.proven, answer.bound.value == answer.period) << where;
}

/// Least period over all placements, by the figures of a schedule of each; nothing if no placement has one.
std::optional<Duration> least_period(const Problem& problem) {
  std::optional<Duration> best;
  std::vector<ModeIndex> modes(problem.task_count());
  const auto devices = [&](TaskId task) { return problem.mode(task, modes[task.index()]).devices; };
  while (true) {
    bool agrees = true;
    for (std::size_t t = 0; t < modes.size() && agrees; ++t) {
      const GroupId group = problem.group_of(TaskId(t));
      agrees = std::ranges::equal(devices(TaskId(t)), devices(problem.tasks_of(group).front()));
      for (const GroupId other : problem.apart_from(group)) {
        for (const DeviceId device : devices(TaskId(t))) {
          agrees = agrees && !std::ranges::binary_search(devices(problem.tasks_of(other).front()), device);
        }
      }
    }
    const auto placed = agrees ? PlacedProblem::create(problem, modes) : std::nullopt;
    const ReferenceOrder reference = placed ? reference_order(*placed) : ReferenceOrder{};
    if (reference.fits) {
      const auto starts = list_schedule(*placed, reference, priority_rules(*placed, reference).front().priority);
      const Duration period = statistics(problem, placed->schedule(starts)).period;
      if (!best || period < *best) best = period;
    }
    std::size_t digit = 0;
    while (digit < modes.size() && ++modes[digit] == problem.mode_count(TaskId(digit))) modes[digit++] = 0;
    if (digit == modes.size()) return best;
  }
}

TEST(MinimisePeriod, diamond_is_shared_as_evenly_as_its_operators_allow) {
  // 10 + 20 + 30 + 5 = 65 on two devices: 30 + 5 against 10 + 20 is best. Transfers take time, but no stream.
  const Problem problem = Problem::create(tiny_diamond_graph(), tiny_cluster());
  const PeriodAnswer answer = minimise_period(problem, Budget(std::nullopt, 20'000));
  expect_valid(problem, answer, "diamond");
  EXPECT_EQ(answer.period, Duration(35));
  EXPECT_TRUE(answer.proven);
}

TEST(MinimisePeriod, copies_that_nothing_binds_may_go_to_different_devices) {
  // Two microbatches of 65 on two devices: one each, 130 / 2 devices / 2 microbatches, rounded up.
  Training training;
  training.microbatches = 2;
  const Problem problem = Problem::create(tiny_diamond_graph(training), tiny_cluster());
  const PeriodAnswer answer = minimise_period(problem, Budget(std::nullopt, 20'000));
  expect_valid(problem, answer, "two diamonds");
  EXPECT_EQ(answer.period, Duration(33));
  EXPECT_TRUE(answer.proven);
}

TEST(MinimisePeriod, endpoints_count_under_contention) {
  // One stream would be shared 35 : 30, but each of the four transfers takes 2 ns + 100 bytes at 1 byte per ns.
  ClusterParts parts = tiny_cluster().parts();
  parts.default_link->bandwidth_bytes_per_s = 1'000'000'000;
  parts.contention = Contention::kEndpoint;
  const Problem problem = Problem::create(tiny_diamond_graph(), Cluster::create(parts));
  const PeriodAnswer answer = minimise_period(problem, Budget(std::nullopt, 20'000));
  expect_valid(problem, answer, "slow link");
  // Any cut keeps an endpoint busy for 102 ns; all on one device takes 65.
  EXPECT_EQ(answer.period, Duration(65));
}

TEST(MinimisePeriod, agrees_with_enumeration_where_memory_is_ample) {
  int compared = 0;
  int proven = 0;
  for (std::uint64_t seed = 1; seed <= seeds(150); ++seed) {
    RandomShape shape;
    shape.most_tasks = 6;
    shape.memory_percent = 0;
    shape.pinned_percent = 20;
    shape.gangs = false;
    try {
      const Problem problem = random_problem(seed, shape).problem();
      const std::optional<Duration> least = least_period(problem);
      const PeriodAnswer answer = minimise_period(problem, Budget(std::nullopt, 3'000));
      if (!least || !answer.schedule) continue;
      const std::string where = "seed " + std::to_string(seed);
      expect_valid(problem, answer, where);
      EXPECT_EQ(answer.period, *least) << where;
      EXPECT_LE(answer.bound.value, *least) << where;
      ++compared;
      proven += answer.proven ? 1 : 0;
    } catch (const InputError&) {
      continue;  // rejected by Problem::create
    }
  }
  EXPECT_GT(compared, 70);
  EXPECT_GT(proven, 40);
}

TEST(MinimisePeriod, schedules_are_valid_and_bounds_hold_with_gangs_and_little_memory) {
  int valid = 0;
  for (std::uint64_t seed = 1; seed <= seeds(150); ++seed) {
    RandomShape shape;
    shape.most_tasks = 6;
    try {
      const Problem problem = random_problem(seed, shape).problem();
      const PeriodAnswer answer = minimise_period(problem, Budget(std::nullopt, 2'000));
      const std::string where = "seed " + std::to_string(seed);
      const std::optional<Duration> least = least_period(problem);
      EXPECT_LE(answer.bound.value, least.value_or(answer.bound.value)) << where;
      if (!answer.schedule) continue;
      expect_valid(problem, answer, where);
      ++valid;
    } catch (const InputError&) {
      continue;
    }
  }
  EXPECT_GT(valid, 40);
}

TEST(MinimisePeriod, same_seed_and_work_give_the_same_schedule) {
  const Problem problem = random_problem(12, {8, 0, 0, false, 2}).problem();
  const PeriodAnswer once = minimise_period(problem, Budget(std::nullopt, 5'000));
  const PeriodAnswer again = minimise_period(problem, Budget(std::nullopt, 5'000));
  ASSERT_EQ(once.schedule.has_value(), again.schedule.has_value());
  if (!once.schedule) GTEST_SKIP() << "no placement on single devices";
  EXPECT_EQ(once.schedule->transfers, again.schedule->transfers);
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    EXPECT_EQ(once.schedule->tasks[t].mode, again.schedule->tasks[t].mode);
  }
}

}  // namespace
}  // namespace opweave::testing
