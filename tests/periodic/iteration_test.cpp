#include "periodic/iteration.h"

#include <gtest/gtest.h>

#include "kernels.h"
#include "opweave/error.h"
#include "opweave/experts.h"
#include "periodic/find_kernel.h"
#include "support/pipelines.h"
#include "support/random_training_pipelines.h"

namespace opweave::periodic {
namespace {

Problem with_as_many(const Problem& problem, std::uint32_t microbatches) {
  const std::uint32_t replicas = problem.settings().training.replicas;
  return with_microbatches(problem, std::vector<std::uint32_t>(replicas, microbatches / replicas));
}

/// What the iteration says of itself holds, before and after a search.
void expect_valid(const Problem& whole, Iteration& iteration, const std::string& name) {
  for (const std::uint64_t evaluations : {0, 300}) {
    const Time before = iteration.makespan();
    Time last = before;
    if (evaluations > 0) {
      iteration.improve(Budget(), {1, evaluations, 1}, [&](const Iteration& better) {
        EXPECT_LT(better.makespan(), last) << name;
        last = better.makespan();
      });
    }
    const Schedule schedule = iteration.schedule();
    EXPECT_EQ(testing::violation(whole, schedule), "") << name;
    EXPECT_EQ(schedule.makespan(whole).value(), iteration.makespan()) << name;
    EXPECT_EQ(iteration.makespan(), last) << name;
  }
}

TEST(Iteration, of_random_training_pipelines_is_valid_for_any_number_of_microbatches) {
  std::size_t made = 0;
  for (std::uint64_t seed = 1; seed <= testing::seeds(40); ++seed) {
    const testing::TrainingPipeline pipeline = testing::random_training_pipeline(seed, 6, 12);
    const Problem trial = with_as_many(pipeline.problem, 40);
    const Problem whole = with_as_many(pipeline.problem, 300);
    for (const Schedule& schedule : testing::list_schedules(trial)) {
      const std::optional<Kernel> kernel = kernel_from_schedule(whole, trial, schedule);
      if (!kernel) continue;
      EXPECT_TRUE(is_valid(*kernel)) << pipeline.name;
      const Iteration::Example example{trial, schedule};
      const auto iteration = Iteration::create(whole, *kernel, &example);
      if (!iteration) continue;
      ++made;
      EXPECT_LE(iteration->period(), kernel->period) << pipeline.name;
      expect_valid(whole, *iteration, pipeline.name);
    }
  }
  EXPECT_GT(made, 60U);
}

TEST(Iteration, of_problems_with_every_feature_is_valid) {
  std::size_t made = 0;
  for (std::uint64_t seed = 1; seed <= testing::seeds(400); ++seed) {
    testing::RandomProblem random =
        seed % 2 == 0 ? testing::random_pipeline(seed) : testing::random_problem(seed, {8, 55, 65, true, 2});
    try {
      random.training.replica_of_microbatch.clear();
      random.training.microbatches = 16;
      const Problem trial = random.problem();
      random.training.microbatches = 60;
      const Problem whole = random.problem();
      const std::vector<Schedule> schedules = testing::list_schedules(trial);
      if (schedules.empty()) continue;
      const std::optional<Kernel> kernel = kernel_from_schedule(whole, trial, schedules.front());
      if (!kernel) continue;
      const auto iteration = Iteration::create(whole, *kernel);
      if (!iteration) continue;
      ++made;
      expect_valid(whole, *iteration, "seed " + std::to_string(seed));
    } catch (const InputError&) {
      continue;  // shared parameters on different devices
    }
  }
  EXPECT_GT(made, 100U);
}

TEST(Iteration, around_a_published_schedule_is_soon_within_a_forward_of_it) {
  // ZB1P is optimal: (P - 1) F + m (F + I + W), 3 + 3 m.
  const auto problem = [](std::uint32_t microbatches) {
    return testing::stage_pipeline(
        testing::StagePipeline{PipelineShape::kLinear, 4, microbatches, 1, 1, 1, 0, {4, 4, 4, 4}});
  };
  const Problem trial = problem(24);
  const Problem whole = problem(2000);
  std::optional<Time> shortest;
  for (const ExpertPlan& expert : expert_plans(trial)) {
    if (!testing::violation(trial, expert.schedule).empty()) continue;
    const std::optional<Kernel> kernel = kernel_from_schedule(whole, trial, expert.schedule);
    if (!kernel) continue;
    const Iteration::Example example{trial, expert.schedule};
    const auto iteration = Iteration::create(whole, *kernel, &example);
    if (!iteration) continue;
    iteration->improve(Budget(), {1, 3000, 1}, [](const Iteration&) {});
    shortest = std::min(shortest.value_or(iteration->makespan()), iteration->makespan());
    EXPECT_EQ(testing::violation(whole, iteration->schedule()), "");
  }
  ASSERT_TRUE(shortest);
  EXPECT_GE(*shortest, testing::units(3 + 3 * 2000).value());
  EXPECT_LE(*shortest, testing::units(4 + 3 * 2000).value());
}

TEST(Iteration, needs_more_microbatches_than_its_ramps) {
  const Problem whole = testing::stage_pipeline(testing::StagePipeline{PipelineShape::kLinear, 8, 3, 1, 1, 1, 0, {}});
  const auto body = testing::unit_of(whole);
  const auto kernel = kernel_from_order(body, testing::chain_starts(*body), least_period(*body));
  ASSERT_TRUE(kernel);
  EXPECT_EQ(Iteration::create(whole, *kernel), nullptr);
}

}  // namespace
}  // namespace opweave::periodic
