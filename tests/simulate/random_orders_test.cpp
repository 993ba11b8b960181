#include <gtest/gtest.h>

#include <cstdio>
#include <set>

#include "opweave/check.h"
#include "opweave/simulate.h"
#include "simulate/naive_simulation.h"
#include "support/serial_plan.h"
#include "support/violation.h"

namespace opweave {
namespace {

using testing::Random;

constexpr Contention kModels[] = {Contention::kNone, Contention::kEndpoint, Contention::kLink};

Problem with_contention(const Problem& problem, Contention contention) {
  ProblemSettings settings = problem.settings();
  settings.contention = contention;
  return Problem::create(problem.graph(), problem.cluster(), settings);
}

void expect_equal(const SimulationResult& result, const SimulationResult& expected, std::uint64_t seed) {
  EXPECT_EQ(result.makespan, expected.makespan) << "seed " << seed;
  EXPECT_EQ(result.task_ends, expected.task_ends) << "seed " << seed;
  EXPECT_EQ(result.deadlocked, expected.deadlocked) << "seed " << seed;
  for (std::size_t t = 0; t < expected.schedule.tasks.size(); ++t) {
    EXPECT_EQ(result.schedule.tasks[t].start, expected.schedule.tasks[t].start) << "seed " << seed << " task " << t;
  }
  std::vector<Transfer> transfers = result.schedule.transfers;
  std::sort(transfers.begin(), transfers.end());
  EXPECT_EQ(transfers, expected.schedule.transfers) << "seed " << seed;
}

// Valid orders run to the end under every contention model, and what comes out is a valid plan.
TEST(SimulateRandom, simulated_orders_are_valid_plans_under_every_contention_model) {
  int plans = 0;
  int tasks = 0;
  for (std::uint64_t seed = 1; seed <= 1500; ++seed) {
    Random random(seed);
    const auto problem = testing::varied_problem(random, 12);
    if (!problem) continue;
    const auto schedule = testing::serial_schedule(*problem, random);
    if (!schedule) continue;
    for (const Contention contention : kModels) {
      const Problem same = with_contention(*problem, contention);
      const SimulationResult result = simulate(same, execution_order(same, *schedule), {contention, 1, {}});
      ASSERT_TRUE(result.deadlocked.empty()) << "seed " << seed << ": " << result.deadlock;
      EXPECT_EQ(result.makespan, result.schedule.makespan(same));
      ASSERT_EQ(testing::violation(same, result.schedule), "") << "seed " << seed << " " << to_string(contention);
      ++plans;
    }
    tasks += static_cast<int>(problem->task_count());
  }
  std::printf("%d plans of %d tasks\n", plans, tasks);
  EXPECT_GT(plans, 1000);
}

// By induction over the moments of the schedule nothing of its replay is later, whatever paused before.
TEST(SimulateRandom, a_replay_without_contention_is_never_later_than_its_schedule) {
  int improved = 0;
  int replays = 0;
  for (std::uint64_t seed = 1; seed <= 1500; ++seed) {
    Random random(seed);
    const auto problem = testing::varied_problem(random);
    if (!problem) continue;
    const auto schedule = testing::serial_schedule(*problem, random);
    if (!schedule) continue;
    // Its own order, then the order of what came out under contention: both schedules are valid.
    const auto contended =
        simulate(*problem, execution_order(*problem, *schedule), {Contention::kEndpoint, 1, {}}).schedule;
    for (const Schedule& original : {*schedule, contended}) {
      const SimulationResult replay = simulate(*problem, execution_order(*problem, original));
      ASSERT_TRUE(replay.deadlocked.empty()) << "seed " << seed << ": " << replay.deadlock;
      for (std::size_t t = 0; t < problem->task_count(); ++t) {
        ASSERT_LE(replay.schedule.tasks[t].start, original.tasks[t].start) << "seed " << seed << " task " << t;
      }
      ++replays;
      improved += replay.makespan < original.makespan(*problem) ? 1 : 0;
    }
  }
  std::printf("%d replays, %d of them shorter\n", replays, improved);
  EXPECT_GT(replays, 1000);
}

// The same times as the definition read literally, nanosecond by nanosecond: contention, slowdown, other
// durations, and orders that deadlock.
TEST(SimulateRandom, agrees_with_the_definition_read_literally) {
  int compared = 0;
  int deadlocks = 0;
  for (std::uint64_t seed = 1; seed <= 700; ++seed) {
    Random random(seed);
    const auto problem = testing::varied_problem(random);
    if (!problem || problem->task_count() > 30) continue;
    const auto schedule = testing::serial_schedule(*problem, random);
    if (!schedule) continue;
    ExecutionOrder order = execution_order(*problem, *schedule);
    if (random.chance(20)) {
      std::vector<Block>& blocks = random.pick(order.devices);
      random.shuffle(blocks);
    }
    SimulationOptions options;
    options.contention = random.pick(kModels);
    const double slowdowns[] = {1, 1.13, 1.5, 2, 7.25};
    options.compute_slowdown = random.pick(slowdowns);
    if (random.chance(50)) {
      for (std::size_t t = 0; t < problem->task_count(); ++t) options.durations.emplace_back(random.between(0, 15));
    }
    const SimulationResult result = simulate(*problem, order, options);
    expect_equal(result, testing::NaiveSimulation(*problem, order, options).run(), seed);
    EXPECT_EQ(result.deadlock.empty(), result.deadlocked.empty());
    ++compared;
    deadlocks += result.deadlocked.empty() ? 0 : 1;
  }
  std::printf("%d simulations compared, %d of them deadlocks\n", compared, deadlocks);
  EXPECT_GT(compared, 300);
  EXPECT_GT(deadlocks, 10);
}

/// Glues runs of neighbouring single-device blocks together, packed one after another.
void glue_blocks(const Problem& problem, ExecutionOrder& order, Random& random) {
  for (std::vector<Block>& blocks : order.devices) {
    std::vector<Block> glued;
    for (const Block& block : blocks) {
      const TaskId task = block.tasks.front();
      const bool is_gang = problem.mode(task, order.modes[task.index()]).devices.size() > 1;
      if (!glued.empty() && random.chance(40) && (!is_gang || random.chance(10))) {
        glued.back().tasks.push_back(task);
        glued.back().offsets.push_back(glued.back().duration);
        glued.back().duration += block.duration;
      } else {
        glued.push_back(block);
      }
    }
    blocks = std::move(glued);
  }
}

// Blocks of several tasks may wait for each other; where they do not, their plans are valid, and packing
// them anew for the same durations changes nothing, since they were packed.
TEST(SimulateRandom, blocks_run_to_valid_plans_or_to_an_explained_deadlock) {
  int ran = 0;
  int deadlocks = 0;
  int rejected = 0;
  for (std::uint64_t seed = 1; seed <= 1500; ++seed) {
    Random random(seed);
    auto problem = testing::varied_problem(random, 12);
    if (!problem) continue;
    const auto schedule = testing::serial_schedule(*problem, random);
    if (!schedule) continue;
    ExecutionOrder order = execution_order(*problem, *schedule);
    glue_blocks(*problem, order, random);
    SimulationOptions options;
    options.contention = problem->settings().contention;
    SimulationResult result;
    try {
      result = simulate(*problem, order, options);
    } catch (const InputError&) {
      ++rejected;  // gangs that tie two blocks of one device, or at different offsets
      continue;
    }
    if (!result.deadlocked.empty()) {
      ++deadlocks;
      EXPECT_FALSE(result.deadlock.empty());
      continue;
    }
    ++ran;
    ASSERT_EQ(testing::violation(*problem, result.schedule), "") << "seed " << seed;
  }
  std::printf("%d ran, %d deadlocks, %d rejected\n", ran, deadlocks, rejected);
  EXPECT_GT(ran, 300);
  EXPECT_GT(deadlocks, 50);
}

}  // namespace
}  // namespace opweave
