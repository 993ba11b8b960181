#include "opweave/problem.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "opweave/error.h"
#include "opweave/plan.h"
#include "support/tiny_diamond.h"

namespace opweave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Operator make_op(std::string name, Phase phase, std::vector<ParameterId> parameters = {}) {
  Operator op;
  op.name = std::move(name);
  op.phase = phase;
  op.durations = {{"", Duration(1)}};
  op.parameters = std::move(parameters);
  return op;
}

template <class Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Problem, ids_ascend_in_topological_order) {
  const Problem problem = Problem::create(testing::tiny_diamond_graph({.microbatches = 3}), testing::tiny_cluster());
  ASSERT_EQ(problem.task_count(), 12U);
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    for (const TaskId predecessor : problem.predecessors(TaskId(t))) EXPECT_LT(predecessor.index(), t);
    for (const TaskId successor : problem.successors(TaskId(t))) EXPECT_GT(successor.index(), t);
  }
  EXPECT_EQ(problem.task_name(problem.task_of(OperatorId(2), 1)), "right#1");
  // bottom of microbatch 1 follows left and right of microbatch 1.
  EXPECT_THAT(problem.predecessors(problem.task_of(OperatorId(3), 1)),
              ElementsAre(problem.task_of(OperatorId(1), 1), problem.task_of(OperatorId(2), 1)));
}

TEST(Problem, optimizer_runs_once_per_replica_after_all_weight_gradients_of_its_parameters) {
  std::vector<Operator> operators = {
      make_op("f", Phase::kForward, {ParameterId(0)}), make_op("w", Phase::kWeightGradient, {ParameterId(0)}),
      make_op("other", Phase::kWeightGradient, {ParameterId(1)}), make_op("step", Phase::kOptimizer, {ParameterId(0)})};
  operators[1].after = {OperatorId(0)};
  const auto graph = ComputationGraph::create("g", operators, {}, {{"p", Bytes(4)}, {"q", Bytes(4)}},
                                              {.microbatches = 4, .replicas = 2});
  const Problem problem = Problem::create(graph, testing::tiny_cluster());
  ASSERT_EQ(problem.task_count(), 3U * 4 + 2);
  for (std::uint32_t replica = 0; replica < 2; ++replica) {
    const TaskId step = problem.task_of(OperatorId(3), replica);
    std::vector<TaskId> expected;
    for (std::uint32_t b = 0; b < 4; ++b) expected.push_back(problem.task_of(OperatorId(1), b));
    EXPECT_TRUE(std::ranges::equal(problem.predecessors(step), expected));
    // The step lives with the replica's copy of the parameter: microbatches 0-1 and 2-3.
    EXPECT_EQ(problem.group_of(step), problem.group_of(problem.task_of(OperatorId(0), 2 * replica)));
  }
  EXPECT_NE(problem.group_of(problem.task_of(OperatorId(0), 0)), problem.group_of(problem.task_of(OperatorId(0), 3)));
}

TEST(Problem, operator_without_allowed_device_is_an_input_error) {
  Operator op = make_op("a", Phase::kNone);
  op.streams = {"comm"};
  const auto graph = ComputationGraph::create("g", {op}, {}, {});
  EXPECT_THAT(error_of([&] { (void)Problem::create(graph, testing::tiny_cluster()); }), HasSubstr("stream \"comm\""));
  Operator pinned = make_op("a", Phase::kNone);
  pinned.devices = {{"d7"}};
  const auto pinned_graph = ComputationGraph::create("g", {pinned}, {}, {});
  EXPECT_THAT(error_of([&] { (void)Problem::create(pinned_graph, testing::tiny_cluster()); }),
              HasSubstr("names device \"d7\""));
}

TEST(Problem, shared_parameter_without_common_device_is_an_input_error) {
  Operator a = make_op("a", Phase::kForward, {ParameterId(0)});
  Operator b = make_op("b", Phase::kForward, {ParameterId(0)});
  a.devices = {{"d0"}};
  b.devices = {{"d1"}};
  const auto graph = ComputationGraph::create("g", {a, b}, {}, {{"p", Bytes(1)}});
  EXPECT_THAT(error_of([&] { (void)Problem::create(graph, testing::tiny_cluster()); }), HasSubstr("must run together"));
}

TEST(Problem, rates_give_durations_where_nothing_was_measured) {
  ClusterParts parts;
  parts.types = {{"gpu", {{"bf16", 1e12}}, 1e11}};
  parts.devices = {{"d0", "gpu", {}, {"compute"}}};
  Operator op;
  op.name = "matmul";
  op.flops = 2e6;           // 2 us at 1e12 flops/s
  op.bytes_accessed = 1e5;  // 1 us at 1e11 bytes/s
  const Problem problem = Problem::create(ComputationGraph::create("g", {op}, {}, {}), Cluster::create(parts));
  EXPECT_EQ(problem.mode(TaskId(0), 0).duration, Duration(2000));
}

TEST(Graph, cycle_is_named_in_order) {
  std::vector<Operator> operators = {make_op("a", Phase::kNone), make_op("b", Phase::kNone),
                                     make_op("c", Phase::kNone)};
  operators[0].after = {OperatorId(2)};
  operators[1].after = {OperatorId(0)};
  operators[2].after = {OperatorId(1)};
  EXPECT_EQ(error_of([&] { (void)ComputationGraph::create("g", operators, {}, {}); }),
            "cycle through 3 operators: \"a\" -> \"b\" -> \"c\" -> \"a\"");
}

TEST(Cluster, route_adds_latencies_and_takes_the_slowest_link) {
  ClusterParts parts;
  parts.devices = {{"a", "", {}, {"compute"}}, {"b", "", {}, {"compute"}}, {"c", "", {}, {"compute"}}};
  parts.switches = {"s"};
  parts.links = {{"as", "a", "s", Duration(10), 2'000'000'000, true},
                 {"sb", "s", "b", Duration(5), 1'000'000'000, true}};
  const Cluster cluster = Cluster::create(parts);
  // 15 ns + ceil(7 bytes / 1 byte per ns).
  EXPECT_EQ(cluster.transfer_time(Bytes(7), DeviceId(0), DeviceId(1)), Duration(22));
  EXPECT_EQ(cluster.route(DeviceId(0), DeviceId(1))->hops.size(), 2U);
  EXPECT_EQ(cluster.transfer_time(Bytes(7), DeviceId(0), DeviceId(2)), std::nullopt);
}

// top 0-10 and left 10-30 on d0; transfer of t 10-13 to d1, right 13-43 there; transfer of r 43-46, bottom 46-51 on d0.
Schedule diamond_schedule() {
  Schedule schedule;
  schedule.tasks = {{0, Duration(0)}, {0, Duration(10)}, {1, Duration(13)}, {0, Duration(46)}};
  schedule.transfers = {{ValueId(0), DeviceId(0), DeviceId(1), Duration(10), Duration(13)},
                        {ValueId(2), DeviceId(1), DeviceId(0), Duration(43), Duration(46)}};
  return schedule;
}

TEST(Statistics, of_the_diamond_match_the_hand_computed_ones) {
  const Problem problem = Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster());
  const PlanStatistics figures = statistics(problem, diamond_schedule());
  EXPECT_EQ(figures.makespan, Duration(51));
  EXPECT_EQ(figures.devices[0].compute_busy, Duration(35));
  EXPECT_EQ(figures.devices[0].bubble, Duration(16));
  EXPECT_EQ(figures.devices[0].span_idle, Duration(16));  // 30 to 46
  EXPECT_EQ(figures.devices[1].bubble, Duration(21));
  EXPECT_EQ(figures.devices[1].span_idle, Duration(0));
  EXPECT_EQ(figures.bytes_moved, Bytes(200));
  EXPECT_EQ(figures.period, Duration(35));
  EXPECT_DOUBLE_EQ(figures.bubble_ratio, 37.0 / 102.0);
}

TEST(MemoryCurves, of_the_diamond_follow_tensor_liveness) {
  const Problem problem = Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster());
  const auto curves = memory_curves(problem, diamond_schedule());
  const auto at = [&](std::size_t device, std::int64_t time) {
    Bytes level;
    for (const MemoryStep& step : curves[device]) {
      if (step.time <= Duration(time)) level = step.bytes;
    }
    return level.value();
  };
  EXPECT_EQ(at(0, 5), 100);   // t
  EXPECT_EQ(at(0, 20), 200);  // t for left, l
  EXPECT_EQ(at(0, 35), 100);  // l waits for bottom
  EXPECT_EQ(at(0, 44), 200);  // l, r arriving
  EXPECT_EQ(at(0, 47), 300);  // l, r, b
  EXPECT_EQ(at(0, 51), 0);
  EXPECT_EQ(at(1, 11), 100);  // t arriving
  EXPECT_EQ(at(1, 20), 200);  // t, r
  EXPECT_EQ(at(1, 45), 100);  // r leaving
  EXPECT_EQ(at(1, 46), 0);
}

TEST(Plan, turns_back_into_the_same_schedule) {
  const Problem problem = Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster());
  const Schedule schedule = diamond_schedule();
  const Plan plan = make_plan(problem, schedule, {{"load", Duration(33), ""}, {"critical-path", Duration(45), ""}}, {});
  EXPECT_EQ(plan.lower_bound(), Duration(45));
  EXPECT_EQ(plan.status, PlanStatus::kFeasible);
  const Schedule back = to_schedule(problem, plan);
  for (std::size_t t = 0; t < 4; ++t) {
    EXPECT_EQ(back.tasks[t].mode, schedule.tasks[t].mode);
    EXPECT_EQ(back.tasks[t].start, schedule.tasks[t].start);
  }
  EXPECT_EQ(back.transfers, schedule.transfers);
}

// 4 operators times 30 million microbatches.
TEST(Problem, refuses_to_expand_what_no_machine_can_hold) {
  ProblemSettings settings = default_settings(testing::tiny_diamond_graph(), testing::tiny_cluster());
  settings.training.microbatches = 30'000'000;
  try {
    (void)Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster(), settings);
    FAIL();
  } catch (const InputError& error) {
    EXPECT_EQ(std::string(error.what()),
              "the iteration would have 120000000 operator instances, expected at most 100000000: the graph has 4 "
              "operators and 4 tensors, repeated over 30000000 microbatches and 1 replicas");
  }
}

// Each microbatch of the diamond has 4 operators of 250 bytes, 4 tensors of 120 bytes, and 4 outputs and 4 inputs of 80
// bytes: 2,120 bytes, so 2 million microbatches 4.24 GB.
TEST(Problem, refuses_to_expand_what_would_take_gigabytes) {
  ProblemSettings settings = default_settings(testing::tiny_diamond_graph(), testing::tiny_cluster());
  settings.training.microbatches = 2'000'000;
  EXPECT_EQ(error_of([&] { (void)Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster(), settings); }),
            "the iteration would take 4.2 GB of memory, expected at most 4.0 GB: the graph has 4 operators and 4 "
            "tensors, repeated over 2000000 microbatches and 1 replicas");
}

// 20,000 operators that share no device: 4e8 ordered pairs.
TEST(Problem, refuses_to_keep_too_many_pairs_apart) {
  std::vector<Operator> operators(20'000, make_op("", Phase::kNone));
  for (std::size_t i = 0; i < operators.size(); ++i) {
    operators[i].name = "op" + std::to_string(i);
    operators[i].anti_colocation = {"alone"};
  }
  EXPECT_EQ(error_of([&] {
              (void)Problem::create(ComputationGraph::create("g", operators, {}, {}), testing::tiny_cluster());
            }),
            "anti-colocation keeps 4e+08 pairs of operator instances apart, expected at most 1e+08");
}

// Groups look at the devices that their operators have in common once per set of devices, not once per operator: in
// pairs of operators and devices this would be 20,000 x 2,000.
TEST(Problem, large_groups_on_many_devices_are_built_at_once) {
  std::vector<Operator> operators(20'000, make_op("", Phase::kNone));
  for (std::size_t i = 0; i < operators.size(); ++i) {
    operators[i].name = "op" + std::to_string(i);
    operators[i].colocation = i % 2 == 0 ? "even" : "";
    operators[i].devices = {{"d0", "d1"}};
    if (i >= 4) operators[i].devices.clear();
  }
  ClusterParts parts;
  for (std::size_t d = 0; d < 2'000; ++d) parts.devices.push_back({"d" + std::to_string(d), "", {}, {"compute"}});
  const auto begin = std::clock();
  const Problem problem =
      Problem::create(ComputationGraph::create("g", operators, {}, {}), Cluster::create(std::move(parts)));
  // Measured 0.05 s of processor time; one look per operator and device takes 1 s.
  EXPECT_LT(static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC, 0.5);
  EXPECT_EQ(problem.devices_of(problem.group_of(problem.task_of(OperatorId(10), 0))).size(), 2U);
  EXPECT_EQ(problem.devices_of(problem.group_of(problem.task_of(OperatorId(11), 0))).size(), 2'000U);
}

}  // namespace
}  // namespace opweave
