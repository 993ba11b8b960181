#include "list_scheduling/fewer_microbatches.h"

#include <gtest/gtest.h>

#include "support/pipelines.h"

namespace opweave {
namespace {

TEST(FewerMicrobatches, keep_the_shares_of_the_replicas) {
  // 12 microbatches, 6 per replica; 4 of them stand for 0, 3, 6 and 9.
  const Problem problem = testing::stage_pipeline({PipelineShape::kTwoWay, 2, 12, 1, 1, 1, 0, {}});
  const Problem fewer = with_fewer_microbatches(problem, 4);
  EXPECT_EQ(sampled_microbatch(3, 4, 12), 9U);
  const Training& training = fewer.settings().training;
  EXPECT_EQ(training.microbatches, 4U);
  EXPECT_EQ(training.replica_of_microbatch, (std::vector<std::uint32_t>{0, 0, 1, 1}));
  EXPECT_EQ(fewer.task_count(), problem.task_count() / 3);
}

TEST(FewerMicrobatches, leave_a_small_problem_as_it_is) {
  const Problem problem = testing::stage_pipeline({PipelineShape::kLinear, 2, 4, 1, 1, 1, 0, {}});
  EXPECT_EQ(with_fewer_microbatches(problem, 4).task_count(), problem.task_count());
}

}  // namespace
}  // namespace opweave
