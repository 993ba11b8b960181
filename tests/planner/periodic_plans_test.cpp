#include "planner/periodic_plans.h"

#include <gtest/gtest.h>

#include "opweave/check.h"
#include "opweave/io.h"
#include "support/pipelines.h"

namespace opweave {
namespace {

Problem v_pipeline(std::uint32_t microbatches) {
  return testing::stage_pipeline(
      testing::StagePipeline{PipelineShape::kV, 4, microbatches, 1, 1.2, 0.8, 0.1, {3, 3, 3, 3}});
}

TEST(PeriodicPlans, are_for_iterations_that_are_long) {
  EXPECT_FALSE(PeriodicPlans::supports(ProblemTraits(v_pipeline(20))));
  EXPECT_TRUE(PeriodicPlans::supports(ProblemTraits(v_pipeline(200))));
}

TEST(PeriodicPlans, lead_the_plan_of_2000_microbatches_to_the_least_period_with_as_little_work_as_that_of_200) {
  std::vector<Duration> ramps;
  for (const std::uint32_t microbatches : {200U, 2000U}) {
    const Problem problem = v_pipeline(microbatches);
    const PlanResult result = plan(problem, Budget(std::nullopt, 2000));
    ASSERT_TRUE(result.plan);
    const auto violations = check(problem.graph(), problem.cluster(), *result.plan);
    ASSERT_TRUE(violations.empty()) << violations.front().message;
    EXPECT_NE(result.plan->provenance.method.find("period 3.00 ms (the least possible)"), std::string::npos)
        << result.plan->provenance.method;
    // F + I + W = 3 per microbatch; what is beyond is the ramps.
    ramps.push_back(result.plan->statistics.makespan - testing::units(3.0 * microbatches));
  }
  EXPECT_EQ(ramps.front(), ramps.back());
}

TEST(PeriodicPlans, are_never_longer_with_more_work) {
  // Too little memory for the least period at once.
  const Problem problem =
      testing::stage_pipeline(testing::StagePipeline{PipelineShape::kV, 4, 28, 1, 1.2, 0.8, 0.1, {2.5, 2.5, 2.5, 2.5}});
  std::optional<Duration> best;
  for (const std::uint64_t work : {0U, 100U, 300U, 500U, 1500U, 3100U}) {
    const PlanResult result = plan(problem, Budget(std::nullopt, work));
    ASSERT_TRUE(result.plan);
    const Duration makespan = result.plan->statistics.makespan;
    EXPECT_TRUE(!best || makespan <= *best) << work;
    best = makespan;
  }
}

TEST(PeriodicPlans, are_the_same_bytes_under_the_same_work_limit_with_any_number_of_threads) {
  const Problem problem = v_pipeline(100);
  const auto planned = [&](unsigned threads) {
    PlannerOptions options;
    options.threads = threads;
    return plan_to_json(*plan(problem, Budget(std::nullopt, 1000), options).plan, problem.graph(), problem.cluster());
  };
  EXPECT_EQ(planned(1), planned(1));
  EXPECT_EQ(planned(1), planned(3));
}

}  // namespace
}  // namespace opweave
