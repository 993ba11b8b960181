/// Robustness on pipelines of realistic sizes; `opweave_bench random-pipelines` runs 100 larger ones.
#include <gtest/gtest.h>

#include "opweave/opweave.h"
#include "support/random_training_pipelines.h"

namespace opweave {
namespace {

TEST(RandomTrainingPipelines, have_a_valid_plan_that_is_no_worse_than_any_expert_that_fits) {
  std::size_t compared = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const testing::TrainingPipeline pipeline = testing::random_training_pipeline(seed, 8, 20);
    const Problem& problem = pipeline.problem;
    // One microbatch after the other always fits, so there is a plan.
    const PlanResult result = plan(problem, Budget(std::nullopt, 200));
    ASSERT_TRUE(result.plan) << pipeline.name << ": " << result.detail;
    const auto violations = check(problem.graph(), problem.cluster(), *result.plan);
    ASSERT_TRUE(violations.empty()) << pipeline.name << ": " << violations.front().message;
    for (const ExpertPlan& expert : expert_plans(problem)) {
      const Plan published = make_plan(problem, expert.schedule, {}, {});
      if (!check(problem.graph(), problem.cluster(), published).empty()) continue;  // too much memory
      ++compared;
      EXPECT_LE(result.plan->statistics.makespan, published.statistics.makespan)
          << pipeline.name << ", " << expert.name;
    }
  }
  EXPECT_GT(compared, 20U);
}

}  // namespace
}  // namespace opweave
