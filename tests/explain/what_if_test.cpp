#include "opweave/what_if.h"

#include <gtest/gtest.h>

#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/plan.h"
#include "opweave/simulate.h"
#include "support/serial_plan.h"
#include "support/tiny_diamond.h"

namespace opweave {
namespace {

using testing::Random;

/// top, right and bottom on d0, left on d1; transfers of 3 ns: 10 + 30 + 5 = 45.
struct DiamondInLittleMemory {
  Problem problem = Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster(Bytes(300)));
  Schedule schedule;
  DiamondInLittleMemory() {
    schedule.tasks = {{0, Duration(0)}, {1, Duration(13)}, {0, Duration(10)}, {0, Duration(40)}};
    schedule.transfers = {{ValueId(0), DeviceId(0), DeviceId(1), Duration(10), Duration(13)},
                          {ValueId(1), DeviceId(1), DeviceId(0), Duration(33), Duration(36)}};
  }
};

TEST(WhatIf, links_twice_as_fast_halve_latency_and_the_time_for_bytes) {
  const Cluster faster = with_link_speed(testing::tiny_cluster(), 2);
  // 2 ns + 100 bytes at 100 bytes per ns = 3 ns; now 1 ns + 0.5 ns, rounded up.
  EXPECT_EQ(testing::tiny_cluster().transfer_time(Bytes(100), DeviceId(0), DeviceId(1)), Duration(3));
  EXPECT_EQ(faster.transfer_time(Bytes(100), DeviceId(0), DeviceId(1)), Duration(2));
}

TEST(WhatIf, memory_scales_capacities_and_the_limit_of_the_settings) {
  const Problem less = with_memory(DiamondInLittleMemory().problem, 0.5);
  EXPECT_EQ(less.capacity(DeviceId(1)), Bytes(150));
  ProblemSettings settings = less.settings();
  settings.memory_limit = Bytes(80);
  const Problem limited = Problem::create(less.graph(), less.cluster(), settings);
  EXPECT_EQ(with_memory(limited, 2).capacity(DeviceId(0)), Bytes(160));
}

TEST(WhatIf, one_device_more_has_the_memory_streams_and_links_of_the_last) {
  ClusterParts parts;
  parts.switches = {"hub"};
  parts.devices = {{"a", "", Bytes(5), {"compute"}}, {"b", "", Bytes(7), {"compute", "comm"}}};
  parts.links = {{"a-hub", "a", "hub", Duration(1), {}, true}, {"b-hub", "b", "hub", Duration(2), {}, true}};
  const Cluster more = with_more_devices(Cluster::create(parts), 2);
  ASSERT_EQ(more.device_count(), 4U);
  EXPECT_EQ(more.devices()[3].name, "b (3)");
  EXPECT_EQ(more.devices()[3].memory, Bytes(7));
  EXPECT_EQ(more.devices()[2].streams, parts.devices[1].streams);
  // Over the hub: 1 + 2 to a, 2 + 2 to b.
  EXPECT_EQ(more.transfer_time(Bytes(0), DeviceId(3), DeviceId(0)), Duration(3));
  EXPECT_EQ(more.transfer_time(Bytes(0), DeviceId(2), DeviceId(1)), Duration(4));
}

// A plan of the smaller problem is one of the larger, whatever the search finds there.
TEST(WhatIf, schedule_is_carried_over_to_one_device_more) {
  const DiamondInLittleMemory diamond;
  const Problem more = Problem::create(diamond.problem.graph(), with_more_devices(diamond.problem.cluster(), 1),
                                       diamond.problem.settings());
  const auto carried = carried_over(more, diamond.schedule);
  ASSERT_TRUE(carried);
  EXPECT_EQ(carried->makespan(more), Duration(45));
  EXPECT_FALSE(carried_over(with_memory(diamond.problem, 0.9), diamond.schedule));
}

TEST(WhatIf, faster_operators_shorten_the_replay_only_as_far_as_they_are_critical) {
  const DiamondInLittleMemory diamond;
  EXPECT_EQ(replay(diamond.problem, diamond.schedule).makespan, Duration(45));
  const auto with = [&](ComputationGraph graph) {
    return replay(Problem::create(std::move(graph), diamond.problem.cluster()), diamond.schedule).makespan;
  };
  // right 30 becomes 15: the other side, 10 + 3 + 20 + 3 = 36, then 5.
  EXPECT_EQ(with(with_faster(diamond.problem.graph(), "right", 2)), Duration(41));
  EXPECT_EQ(with(with_faster(diamond.problem.graph(), "left", 2)), Duration(45));
  EXPECT_THROW(static_cast<void>(with_faster(diamond.problem.graph(), "middle", 2)), InputError);
}

TEST(WhatIf, replay_says_where_memory_is_exceeded) {
  const DiamondInLittleMemory diamond;
  // On d0 t, l, r and b are there while bottom runs: l, r, b, since t is gone. With 250 bytes that is too much.
  EXPECT_TRUE(replay(diamond.problem, diamond.schedule).fits_memory);
  EXPECT_FALSE(replay(with_memory(diamond.problem, 250.0 / 300), diamond.schedule).fits_memory);
}

TEST(WhatIf, durations_that_do_not_vary_give_the_makespan_and_those_that_do_stay_within_the_spread) {
  int plans = 0;
  for (std::uint64_t seed = 1; plans < 100; ++seed) {
    Random random(seed);
    const auto planned = testing::random_planned_problem(random);
    if (!planned) continue;
    const Schedule schedule = to_schedule(planned->problem, planned->plan);
    const Duration makespan = replay(planned->problem, schedule).makespan;
    const Robustness still = robustness(planned->problem, schedule, 0, 3, seed);
    EXPECT_EQ(still.median, makespan);
    EXPECT_EQ(still.worst, makespan);
    const Robustness varied = robustness(planned->problem, schedule, 0.2, 20, seed);
    EXPECT_LE(varied.median, varied.percentile95);
    EXPECT_LE(varied.percentile95, varied.worst);
    // Without contention no path grows by more than a fifth, and half a nanosecond of rounding per task.
    if (planned->problem.settings().contention == Contention::kNone) {
      const double most =
          1.2 * static_cast<double>(makespan.value()) + static_cast<double>(planned->problem.task_count());
      EXPECT_LE(static_cast<double>(varied.worst.value()), most);
    }
    EXPECT_EQ(robustness(planned->problem, schedule, 0.2, 20, seed).median, varied.median);
    ++plans;
  }
}

TEST(WhatIf, varied_durations_are_uniform_within_the_spread) {
  // One operator of 1000 ns alone: its makespan is its duration.
  Operator op;
  op.name = "alone";
  op.durations = {{"", Duration(1000)}};
  ClusterParts parts;
  parts.devices = {{"d", "", {}, {"compute"}}};
  const Problem problem =
      Problem::create(ComputationGraph::create("one", {op}, {}, {}), Cluster::create(std::move(parts)));
  Schedule schedule;
  schedule.tasks.resize(1);
  const Robustness result = robustness(problem, schedule, 0.1, 2000, 7);
  // Uniform in 900 to 1100: median 1000, 95 of 100 below 1090; a standard error is 200 sqrt(q (1 - q) / 2000).
  EXPECT_NEAR(static_cast<double>(result.median.value()), 1000, 4 * 200 * 0.0112);
  EXPECT_NEAR(static_cast<double>(result.percentile95.value()), 1090, 4 * 200 * 0.0049);
  EXPECT_LE(result.worst, Duration(1100));
}

}  // namespace
}  // namespace opweave
