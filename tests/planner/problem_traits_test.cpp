#include "planner/problem_traits.h"

#include <gtest/gtest.h>

#include "planner/cp_sat_targets_method.h"
#include "planner/levels_method.h"
#include "planner/periodic_plans.h"
#include "planner/routing_method.h"
#include "support/job_shop.h"
#include "support/mergeable_problems.h"
#include "support/pipelines.h"

namespace opweave {
namespace {

TEST(ProblemTraits, decide_which_methods_work) {
  // Machines to choose from, one microbatch; explicit modes are not merged.
  const Problem shop = testing::random_job_shop(1, 4, 4, 3);
  const ProblemTraits of_shop(shop);
  EXPECT_EQ(of_shop.tasks, 16U);
  EXPECT_TRUE(of_shop.has_open_placement);
  EXPECT_FALSE(of_shop.can_be_merged);
  EXPECT_TRUE(RoutingMethod::supports(of_shop));
  EXPECT_FALSE(CpSatTargetsMethod::supports(of_shop));  // nothing is sent
  EXPECT_FALSE(LevelsMethod::supports(of_shop));
  EXPECT_FALSE(PeriodicPlans::supports(of_shop));
  // Beyond 4,000 tasks placement is found by levels.
  const Problem layers = testing::heavy_layers(4001, 4);
  const ProblemTraits of_layers(layers);
  EXPECT_TRUE(LevelsMethod::supports(of_layers));
  EXPECT_FALSE(RoutingMethod::supports(of_layers));
  // A pipeline with a device for each stage; 6 microbatches per device are a trial, and 24 at least.
  const Problem pipeline = testing::stage_pipeline({PipelineShape::kLinear, 2, 25, 1, 1, 1, 0, {}});
  const ProblemTraits of_pipeline(pipeline);
  EXPECT_EQ(of_pipeline.microbatches, 25U);
  EXPECT_FALSE(of_pipeline.has_open_placement);
  EXPECT_FALSE(RoutingMethod::supports(of_pipeline));
  EXPECT_FALSE(CpSatTargetsMethod::supports(of_pipeline));
  EXPECT_FALSE(LevelsMethod::supports(of_pipeline));
  EXPECT_TRUE(PeriodicPlans::supports(of_pipeline));
}

}  // namespace
}  // namespace opweave
