#include "opweave/plan_diff.h"

#include <gmock/gmock.h>

#include "opweave/io.h"
#include "opweave/plan.h"
#include "support/tiny_diamond.h"

namespace opweave {
namespace {

using ::testing::ElementsAre;

/// Two plans of the diamond: `apart` has left on d1 (10 + 30 + 5 = 45), `together` has all on d0 (10 + 20 + 30 + 5 =
/// 65), left before right.
struct TwoPlans {
  Problem problem = Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster());
  Schedule apart;
  Schedule together;
  TwoPlans() {
    apart.tasks = {{0, Duration(0)}, {1, Duration(13)}, {0, Duration(10)}, {0, Duration(40)}};
    apart.transfers = {{ValueId(0), DeviceId(0), DeviceId(1), Duration(10), Duration(13)},
                       {ValueId(1), DeviceId(1), DeviceId(0), Duration(33), Duration(36)}};
    together.tasks = {{0, Duration(0)}, {0, Duration(10)}, {0, Duration(30)}, {0, Duration(60)}};
  }
  [[nodiscard]] PlanAlone alone(const Schedule& schedule) const {
    const Plan plan = make_plan(problem, schedule, {}, {});
    return parse_plan_alone(plan_to_json(plan, problem.graph(), problem.cluster()), "plan");
  }
};

TEST(PlanDiff, says_what_moved_what_swapped_and_what_shifted) {
  const TwoPlans two;
  const PlanDiff diff = diff_plans(two.alone(two.apart), two.alone(two.together));
  EXPECT_TRUE(diff.is_same_settings);
  EXPECT_EQ(diff.in_both, 4U);
  EXPECT_EQ(diff.only_first + diff.only_second, 0U);
  ASSERT_EQ(diff.moved.size(), 1U);
  EXPECT_EQ(diff.moved[0].from, "d1");
  EXPECT_EQ(diff.moved[0].to, "d0");
  EXPECT_THAT(diff.moved[0].operators, ElementsAre("left"));
  // top, right and bottom stay on d0 in the same order.
  ASSERT_EQ(diff.orders.size(), 1U);
  EXPECT_EQ(diff.orders[0].stayed, 3U);
  EXPECT_EQ(diff.orders[0].swapped, 0U);
  // right and bottom by 20, left by 3; top stays.
  ASSERT_EQ(diff.shifted.size(), 3U);
  EXPECT_EQ(diff.shifted[0].second - diff.shifted[0].first, Duration(20));
  EXPECT_EQ(diff.shifted[2].task, "left#0");
}

TEST(PlanDiff, counts_pairs_that_swapped) {
  TwoPlans two;
  Schedule swapped = two.together;
  swapped.tasks[1].start = Duration(40);
  swapped.tasks[2].start = Duration(10);
  const PlanDiff diff = diff_plans(two.alone(two.together), two.alone(swapped));
  ASSERT_EQ(diff.orders.size(), 1U);
  EXPECT_EQ(diff.orders[0].swapped, 1U);
  EXPECT_DOUBLE_EQ(diff.orders[0].share, 1.0 / 6);
  EXPECT_TRUE(diff.moved.empty());
}

TEST(PlanDiff, splits_the_change_into_places_and_order) {
  const TwoPlans two;
  const DiffCosts costs = diff_costs(two.problem, two.apart, two.together);
  EXPECT_EQ(costs.first, Duration(45));
  EXPECT_EQ(costs.with_places, Duration(65));  // one after the other, whatever the order
  EXPECT_EQ(costs.second, Duration(65));
  ASSERT_EQ(costs.alone.size(), 1U);
  EXPECT_EQ(costs.alone[0].group, "left");
  EXPECT_EQ(costs.alone[0].makespan, Duration(65));
  EXPECT_EQ(costs.moved_groups, 1U);
  // d1 runs left alone for 20 of 45; all of d0 is busy. Then d1 runs nothing for 65.
  Duration before, after;
  for (std::size_t c = 0; c < kIdleCauses; ++c) {
    before += costs.idle_first[c];
    after += costs.idle_second[c];
  }
  EXPECT_EQ(before, Duration(25));
  EXPECT_EQ(after, Duration(65));
}

}  // namespace
}  // namespace opweave
