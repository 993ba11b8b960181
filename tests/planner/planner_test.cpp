#include "opweave/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/pipeline.h"
#include "support/random_problems.h"
#include "support/tiny_diamond.h"

namespace opweave {
namespace {

using ::testing::HasSubstr;

/// V pipeline of 4 devices and 8 stages with a compute and a comm stream, 8 microbatches.
Problem overlapping_pipeline(std::int64_t activations) {
  PipelineSpec spec;
  spec.name = "overlap";
  spec.shape = PipelineShape::kV;
  for (std::uint32_t s = 0; s < 8; ++s) {
    Layer layer;
    layer.name = "layer" + std::to_string(s);
    layer.operators = {{"mlp", "mlp", {"compute"}, Duration(1000), Duration(1200), Duration(800)},
                       {"combine", "all_to_all", {"comm"}, Duration(700), Duration(700), std::nullopt}};
    layer.activation = Bytes(100);
    spec.layers.push_back(layer);
  }
  for (std::uint32_t d = 0; d < 4; ++d) spec.devices.push_back("gpu" + std::to_string(d));
  spec.training.microbatches = 8;
  return Problem::create(build_pipeline(spec),
                         uniform_cluster(4, {"compute", "comm"}, Bytes(100 * activations), Duration(10)));
}

std::string planned_bytes(const Problem& problem, std::uint64_t work, unsigned threads) {
  PlannerOptions options;
  options.threads = threads;
  const PlanResult result = plan(problem, Budget(std::nullopt, work), options);
  return plan_to_json(*result.plan, problem.graph(), problem.cluster());
}

TEST(Planner, plans_the_diamond_optimally) {
  // Both branches on one device: 65; the shorter branch elsewhere: 10 + 3 + 20 + 3 + 5 = 41 beside 10 + 30 + 5 = 45,
  // which is the critical path, so nothing is better.
  const Problem problem = Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster());
  const PlanResult result = plan(problem, Budget(std::nullopt, 1000));
  ASSERT_EQ(result.reason, PlanResult::Reason::kPlanned);
  EXPECT_EQ(result.plan->statistics.makespan, Duration(45));
  EXPECT_EQ(result.plan->status, PlanStatus::kOptimal);
  EXPECT_EQ(result.limit, "");
}

TEST(Planner, returns_only_plans_that_check_accepts) {
  testing::RandomShape shape;
  shape.most_tasks = 24;
  std::size_t planned = 0;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    std::optional<Problem> problem;
    try {
      problem = testing::random_problem(seed, shape).problem();
    } catch (const InputError&) {
      continue;
    }
    const PlanResult result = plan(*problem, Budget(std::nullopt, 300));
    if (!result.plan) {
      EXPECT_FALSE(result.detail.empty());
      continue;
    }
    ++planned;
    const auto violations = check(problem->graph(), problem->cluster(), *result.plan);
    EXPECT_TRUE(violations.empty()) << "seed " << seed << ": " << violations.front().message;
  }
  EXPECT_GT(planned, 60U);
}

TEST(Planner, same_work_limit_gives_the_same_bytes_with_any_number_of_threads) {
  const Problem problem = overlapping_pipeline(6);
  const std::string first = planned_bytes(problem, 2000, 1);
  for (int repeat = 0; repeat < 3; ++repeat) {
    ASSERT_EQ(planned_bytes(problem, 2000, 1), first);
    ASSERT_EQ(planned_bytes(problem, 2000, 2), first);
  }
}

TEST(Planner, more_work_never_gives_a_worse_plan) {
  std::vector<Problem> problems;
  for (const std::int64_t activations : {3, 5}) problems.push_back(overlapping_pipeline(activations));
  testing::RandomShape shape;
  shape.most_tasks = 24;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    try {
      problems.push_back(testing::random_problem(seed, shape).problem());
    } catch (const InputError&) {
      continue;
    }
  }
  std::size_t improved = 0;
  for (std::size_t i = 0; i < problems.size(); ++i) {
    std::optional<Duration> best;
    for (const std::uint64_t work : {0U, 60U, 100U, 170U, 300U, 700U, 1500U}) {
      const PlanResult result = plan(problems[i], Budget(std::nullopt, work));
      if (!best && !result.plan) continue;
      ASSERT_TRUE(result.plan) << "problem " << i << ", work " << work;
      const Duration makespan = result.plan->statistics.makespan;
      ASSERT_TRUE(!best || makespan <= *best) << "problem " << i << ", work " << work;
      if (best && makespan < *best) ++improved;
      best = makespan;
    }
  }
  EXPECT_GT(improved, 3U);
}

TEST(Planner, says_why_nothing_fits) {
  const PlanResult result = plan(overlapping_pipeline(1), Budget(std::nullopt, 100));  // one microbatch needs 2
  EXPECT_NE(result.reason, PlanResult::Reason::kPlanned);
  EXPECT_FALSE(result.plan.has_value());
  EXPECT_THAT(result.detail, HasSubstr("exceed the 100 bytes"));
}

TEST(Planner, keeps_its_time_limit) {
  const Problem problem = overlapping_pipeline(6);
  for (const double limit : {0.05, 0.5}) {
    const Budget budget(limit, std::nullopt);
    const PlanResult result = plan(problem, budget);
    EXPECT_LE(budget.elapsed(), limit * 1.05 + 0.5);
    ASSERT_TRUE(result.plan.has_value());
  }
}

TEST(Planner, returns_the_best_plan_soon_after_the_stop_flag) {
  const Problem problem = overlapping_pipeline(6);
  std::atomic<bool> stop{false};
  Budget budget(30.0, std::nullopt);
  budget.watch(&stop);
  std::thread stopper([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    stop = true;
  });
  const PlanResult result = plan(problem, budget);
  stopper.join();
  EXPECT_LT(budget.elapsed(), 1.2);
  EXPECT_EQ(result.limit, "interrupt");
  ASSERT_TRUE(result.plan.has_value());
  EXPECT_TRUE(check(problem.graph(), problem.cluster(), *result.plan).empty());
}

TEST(Planner, incumbents_only_improve) {
  const Problem problem = overlapping_pipeline(6);
  std::vector<Duration> seen;
  PlannerOptions options;
  options.on_progress = [&](const Progress& progress) {
    if (progress.makespan) seen.push_back(*progress.makespan);
  };
  (void)plan(problem, Budget(std::nullopt, 1000), options);
  ASSERT_FALSE(seen.empty());
  for (std::size_t i = 1; i < seen.size(); ++i) EXPECT_LT(seen[i], seen[i - 1]);
}

}  // namespace
}  // namespace opweave
