#include "coarsen/hierarchy.h"

#include <gtest/gtest.h>

#include "opweave/check.h"
#include "opweave/planner.h"
#include "support/mergeable_problems.h"

namespace opweave {
namespace {

using coarsen::Hierarchy;

TEST(Hierarchy, halves_a_graph_about_once_per_level_and_leads_back_to_it) {
  const Problem problem = testing::heavy_layers(2000, 4);
  const Hierarchy hierarchy(problem, 128, false, Budget());
  ASSERT_GT(hierarchy.level_count(), 3U);
  for (std::size_t level = 1; level < hierarchy.level_count(); ++level) {
    EXPECT_LT(hierarchy.problem(level).task_count(), hierarchy.problem(level - 1).task_count());
  }
  std::size_t level = hierarchy.level_count() - 1;
  const PlanResult coarsest = plan(hierarchy.problem(level), Budget(std::nullopt, 0));
  Schedule schedule = to_schedule(hierarchy.problem(level), *coarsest.plan);
  for (; level > 0; --level) schedule = hierarchy.expand(level, schedule);
  EXPECT_TRUE(check(problem.graph(), problem.cluster(), make_plan(problem, schedule, {}, {}), 1).empty());
}

}  // namespace
}  // namespace opweave
