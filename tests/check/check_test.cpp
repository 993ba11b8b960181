#include "opweave/check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/tiny_diamond.h"

namespace opweave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// "rule: message" of each violation, those of the figures left out: they follow from the others.
std::vector<std::string> broken(const Problem& problem, const Plan& plan) {
  std::vector<std::string> result;
  for (const Violation& violation : check(problem.graph(), problem.cluster(), plan)) {
    if (violation.rule != Rule::kFigures) {
      result.push_back(std::string(to_string(violation.rule)) + ": " + violation.message);
    }
  }
  return result;
}

Operator make_op(std::string name, std::int64_t duration, std::vector<TensorId> inputs = {},
                 std::vector<TensorId> outputs = {}) {
  Operator op;
  op.name = std::move(name);
  op.durations = {{"", Duration(duration)}};
  op.inputs = std::move(inputs);
  op.outputs = std::move(outputs);
  return op;
}

Tensor make_tensor(std::string name, std::int64_t size) { return {std::move(name), Bytes(size), {}, {}}; }

// top 0-10 and left 10-30 on d0; t to d1 10-13, right 13-43 there; r to d0 43-46, bottom 46-51.
Schedule diamond_schedule() {
  Schedule schedule;
  schedule.tasks = {{0, Duration(0)}, {0, Duration(10)}, {1, Duration(13)}, {0, Duration(46)}};
  schedule.transfers = {{ValueId(0), DeviceId(0), DeviceId(1), Duration(10), Duration(13)},
                        {ValueId(2), DeviceId(1), DeviceId(0), Duration(43), Duration(46)}};
  return schedule;
}

class DiamondCheck : public ::testing::Test {
 protected:
  const Problem problem = Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster());
  Plan plan = make_plan(problem, diamond_schedule(), {{"critical-path", Duration(45), ""}}, {});
};

TEST_F(DiamondCheck, accepts_the_diamond_with_all_its_figures) {
  EXPECT_THAT(check(problem.graph(), problem.cluster(), plan), IsEmpty());
}

// Tasks of the plan by start: top, left, right, bottom.
TEST_F(DiamondCheck, names_tasks_devices_times_and_values) {
  plan.tasks[2].start = Duration(12);
  plan.tasks[2].end = Duration(42);
  plan.transfers[0].end = Duration(14);
  EXPECT_THAT(
      broken(problem, plan),
      ElementsAre(
          "presence: task \"right\" on \"d1\" starts at 12 ns, but its input \"t\" arrives at 14 ns",
          "transfer: transfer of \"t\" from \"d0\" to \"d1\" lasts from 10 to 14 ns, which is 4 ns, expected 3 ns"));
}

TEST_F(DiamondCheck, tells_a_missing_transfer) {
  plan.transfers.erase(plan.transfers.begin());
  EXPECT_THAT(broken(problem, plan),
              ElementsAre("presence: task \"right\" on \"d1\" lacks its input \"t\", which \"top\" makes on \"d0\" and "
                          "nobody sends"));
}

TEST_F(DiamondCheck, tells_an_overlap_on_a_stream) {
  plan.tasks[1].start = Duration(9);
  plan.tasks[1].end = Duration(29);
  EXPECT_THAT(
      broken(problem, plan),
      ElementsAre("stream: stream \"compute\" of device \"d0\" runs \"top\" until 10 ns, but \"left\" starts at 9 ns",
                  "presence: task \"left\" on \"d0\" starts at 9 ns, but its input \"t\" is made at 10 ns"));
}

// d0 holds most while bottom runs: l, r and b.
TEST_F(DiamondCheck, memory_limit_of_the_plan_replaces_the_capacity_of_the_devices) {
  plan.settings.memory_limit = Bytes(300);
  EXPECT_THAT(broken(problem, plan), IsEmpty());
  plan.settings.memory_limit = Bytes(299);
  EXPECT_THAT(broken(problem, plan),
              ElementsAre("memory: memory of device \"d0\" reaches 300 bytes at 46 ns (0 of them parameters), "
                          "expected at most 299"));
}

TEST_F(DiamondCheck, every_broken_rule_has_its_share_of_the_limit) {
  plan.tasks[0].end = Duration(1000);      // once, stream (left and bottom), presence (left), transfer
  plan.statistics.period = Duration(999);  // and more figures
  const auto violations = check(problem.graph(), problem.cluster(), plan, 5);
  ASSERT_EQ(violations.size(), 5U);
  std::vector<Rule> rules;
  for (const Violation& violation : violations) rules.push_back(violation.rule);
  EXPECT_THAT(rules, ElementsAre(Rule::kOnce, Rule::kStream, Rule::kPresence, Rule::kTransfer, Rule::kFigures));
  EXPECT_EQ(check(problem.graph(), problem.cluster(), plan, 1).size(), 1U);
  EXPECT_EQ(check(problem.graph(), problem.cluster(), plan, 0).size(), 1U);  // 0 would accept everything
}

TEST_F(DiamondCheck, a_claim_of_four_billion_microbatches_costs_nothing) {
  plan.settings.training.microbatches = 4'000'000'000U;
  const auto violations = check(problem.graph(), problem.cluster(), plan);
  ASSERT_EQ(violations.size(), 1U);
  EXPECT_EQ(violations[0].message,
            "plan has 4 tasks, but its settings (4000000000 microbatches, 1 replicas) ask for 16000000000");
}

TEST_F(DiamondCheck, optimal_needs_a_bound_that_meets_the_makespan) {
  plan.status = PlanStatus::kOptimal;
  const auto violations = check(problem.graph(), problem.cluster(), plan);
  ASSERT_EQ(violations.size(), 1U);
  EXPECT_EQ(violations[0].message, "status is \"optimal\", but the lower bound 45 ns is not the makespan 51 ns");
  plan.bounds.push_back({"true", Duration(51), ""});
  EXPECT_THAT(check(problem.graph(), problem.cluster(), plan), IsEmpty());
}

// a 0-10 holds x (60 bytes) to the end of b 10-20; c 20-30 makes y (60) when x has just gone. z is made
// in no time inside b, consumed by nobody, and would never fit.
TEST(CheckHalfOpen, instants_occupy_neither_streams_nor_memory_and_releases_come_first) {
  const auto graph =
      ComputationGraph::create("g",
                               {make_op("a", 10, {}, {TensorId(0)}), make_op("b", 10, {TensorId(0)}),
                                make_op("c", 10, {}, {TensorId(1)}), make_op("instant", 0, {}, {TensorId(2)})},
                               {make_tensor("x", 60), make_tensor("y", 60), make_tensor("z", 1000)}, {});
  const Problem problem = Problem::create(graph, testing::tiny_cluster(Bytes(60)));
  Schedule schedule;
  schedule.tasks = {{0, Duration(0)}, {0, Duration(10)}, {0, Duration(20)}, {0, Duration(15)}};
  const Plan plan = make_plan(problem, schedule, {}, {});
  EXPECT_THAT(check(problem.graph(), problem.cluster(), plan), IsEmpty());
  EXPECT_EQ(plan.statistics.devices[0].peak_memory, Bytes(60));
  schedule.tasks[2].start = Duration(19);
  EXPECT_THAT(broken(problem, make_plan(problem, schedule, {}, {})),
              ElementsAre(HasSubstr("stream \"compute\""), HasSubstr("reaches 120 bytes at 19 ns")));
}

// An input of the graph (50 bytes) is live on d0 from the start of its first consumer there, 10, to the
// end of the last, 40, through a pause; on d1 only while c runs.
TEST(CheckMemory, inputs_of_the_graph_live_on_each_device_from_first_to_last_use) {
  std::vector<Operator> operators = {make_op("a", 10, {TensorId(0)}), make_op("b", 10, {TensorId(0)}),
                                     make_op("c", 10, {TensorId(0)}), make_op("pause", 5)};
  operators[3].workspace = Bytes(7);
  const auto graph = ComputationGraph::create("g", operators, {make_tensor("x", 50)}, {});
  const Problem problem = Problem::create(graph, testing::tiny_cluster(Bytes(50)));
  Schedule schedule;
  schedule.tasks = {{0, Duration(10)}, {0, Duration(30)}, {1, Duration(0)}, {0, Duration(40)}};
  EXPECT_THAT(broken(problem, make_plan(problem, schedule, {}, {})), IsEmpty());
  schedule.tasks[3].start = Duration(22);  // in the pause, where x still lives
  EXPECT_THAT(broken(problem, make_plan(problem, schedule, {}, {})),
              ElementsAre(HasSubstr("\"d0\" reaches 57 bytes at 22 ns")));
}

// 10 bytes of weights, gradients of 10, optimizer state of ceil(10 x 0.25) = 3: 23 for each home.
TEST(CheckMemory, a_parameter_counts_once_on_each_device_where_a_replica_lives) {
  Operator op = make_op("f", 5);
  op.parameters = {ParameterId(0)};
  Training training{.microbatches = 4, .replicas = 2};
  training.gradient_bytes_per_weight_byte = 1;
  training.optimizer_bytes_per_weight_byte = 0.25;
  const auto graph = ComputationGraph::create("g", {op}, {}, {{"p", Bytes(10)}}, training);
  const Problem problem = Problem::create(graph, testing::tiny_cluster(Bytes(23)));
  Schedule schedule;  // both replicas on d0: one home
  schedule.tasks = {{0, Duration(0)}, {0, Duration(5)}, {0, Duration(10)}, {0, Duration(15)}};
  Plan plan = make_plan(problem, schedule, {}, {});
  EXPECT_THAT(check(problem.graph(), problem.cluster(), plan), IsEmpty());
  EXPECT_EQ(plan.statistics.parameter_copies, 1U);
  schedule.tasks[2].mode = schedule.tasks[3].mode = 1;  // the second on d1
  plan = make_plan(problem, schedule, {}, {});
  EXPECT_THAT(check(problem.graph(), problem.cluster(), plan), IsEmpty());
  EXPECT_EQ(plan.statistics.parameter_copies, 2U);
  plan.settings.memory_limit = Bytes(22);
  EXPECT_THAT(
      broken(problem, plan),
      ElementsAre("memory: memory of device \"d0\" reaches 23 bytes (23 of them parameters), expected at most 22",
                  "memory: memory of device \"d1\" reaches 23 bytes (23 of them parameters), expected at most 22"));
  schedule.tasks[1].mode = 1;  // microbatch 1 belongs to the first replica, which lives on d0
  EXPECT_THAT(
      broken(problem, make_plan(problem, schedule, {}, {})),
      ElementsAre("placement: task \"f#1\" runs on \"d1\", but \"f#0\" on \"d0\": both read parameter \"p\" of one "
                  "replica"));
}

// The step of each replica reads what all microbatches made, wherever that was.
TEST(CheckPresence, an_optimizer_operator_consumes_the_copies_of_all_microbatches) {
  std::vector<Operator> operators = {make_op("w", 5, {}, {TensorId(0)}), make_op("step", 5, {TensorId(0)})};
  operators[0].phase = Phase::kWeightGradient;
  operators[1].phase = Phase::kOptimizer;
  const auto graph =
      ComputationGraph::create("g", operators, {make_tensor("gradient", 100)}, {}, {.microbatches = 2, .replicas = 2});
  const Problem problem = Problem::create(graph, testing::tiny_cluster());
  // w#0 on d0, w#1 on d1, at 0; both gradients cross at 5-8; step#0 on d0, step#1 on d1.
  Schedule schedule;
  schedule.tasks = {{0, Duration(0)}, {1, Duration(0)}, {0, Duration(8)}, {1, Duration(8)}};
  schedule.transfers = {{ValueId(0), DeviceId(0), DeviceId(1), Duration(5), Duration(8)},
                        {ValueId(1), DeviceId(1), DeviceId(0), Duration(5), Duration(8)}};
  EXPECT_THAT(broken(problem, make_plan(problem, schedule, {}, {})), IsEmpty());
  Schedule spoiled = schedule;
  spoiled.transfers.pop_back();
  EXPECT_THAT(broken(problem, make_plan(problem, spoiled, {}, {})),
              ElementsAre(HasSubstr("task \"step#0\" on \"d0\" lacks its input \"gradient#1\"")));
  // It also waits for every gradient that it need not wait for as data.
  spoiled = schedule;
  spoiled.tasks[1].start = Duration(4);
  spoiled.transfers[1].start = Duration(9);
  spoiled.transfers[1].end = Duration(12);
  spoiled.tasks[2].start = Duration(12);
  EXPECT_THAT(
      broken(problem, make_plan(problem, spoiled, {}, {})),
      ElementsAre(HasSubstr("stream \"compute\" of device \"d1\""),
                  HasSubstr("task \"step#1\" on \"d1\" starts at 8 ns, but its input \"gradient#1\" is made at 9"),
                  HasSubstr("task \"step#1\" starts at 8 ns, but \"w#1\", which must come before it, ends at 9")));
}

class GangCheck : public ::testing::Test {
 protected:
  /// split runs on d0 and d1 together and makes x; use reads it, anywhere.
  static Problem make() {
    Operator split;
    split.name = "split";
    split.outputs = {TensorId(0)};
    split.modes = {{{"d0", "d1"}, Duration(10), Bytes(5)}, {{"d2"}, Duration(15), Bytes(9)}};
    ClusterParts parts;
    parts.devices = {{"d0", "", {}, {"compute"}}, {"d1", "", {}, {"compute"}}, {"d2", "", {}, {"compute"}}};
    parts.default_link = Link{"", "", "", Duration(3), std::nullopt, true};
    return Problem::create(
        ComputationGraph::create("g", {split, make_op("use", 4, {TensorId(0)})}, {make_tensor("x", 20)}, {}),
        Cluster::create(parts));
  }
  /// The mode of a task on these devices.
  [[nodiscard]] ModeIndex mode(std::size_t task, const std::vector<DeviceId>& devices) const {
    ModeIndex index = 0;
    while (!std::ranges::equal(problem.mode(TaskId(task), index).devices, devices)) ++index;
    return index;
  }
  const Problem problem = make();
};

TEST_F(GangCheck, makes_its_outputs_on_all_its_devices) {
  Schedule schedule;
  schedule.tasks = {{mode(0, {DeviceId(0), DeviceId(1)}), Duration(0)}, {mode(1, {DeviceId(1)}), Duration(10)}};
  const Plan plan = make_plan(problem, schedule, {}, {});
  EXPECT_THAT(check(problem.graph(), problem.cluster(), plan), IsEmpty());
  // d0 drops x when the gang ends, d1 keeps it for use; 5 bytes of workspace on both.
  EXPECT_EQ(plan.statistics.devices[0].peak_memory, Bytes(25));
  EXPECT_EQ(plan.statistics.devices[1].peak_memory, Bytes(25));
}

TEST_F(GangCheck, may_send_from_any_of_its_devices_but_from_no_other) {
  Schedule schedule;
  schedule.tasks = {{mode(0, {DeviceId(0), DeviceId(1)}), Duration(0)}, {mode(1, {DeviceId(2)}), Duration(13)}};
  for (const std::size_t source : {0U, 1U}) {
    schedule.transfers = {{ValueId(0), DeviceId(source), DeviceId(2), Duration(10), Duration(13)}};
    EXPECT_THAT(check(problem.graph(), problem.cluster(), make_plan(problem, schedule, {}, {})), IsEmpty());
  }
  schedule.tasks = {{mode(0, {DeviceId(2)}), Duration(0)}, {mode(1, {DeviceId(1)}), Duration(18)}};
  schedule.transfers = {{ValueId(0), DeviceId(0), DeviceId(1), Duration(15), Duration(18)}};
  EXPECT_THAT(broken(problem, make_plan(problem, schedule, {}, {})),
              ElementsAre("transfer: transfer of \"x\" from \"d0\" to \"d1\": \"split\" makes it on \"d2\""));
}

TEST_F(GangCheck, runs_on_all_devices_of_one_mode) {
  Schedule schedule;
  schedule.tasks = {{mode(0, {DeviceId(0), DeviceId(1)}), Duration(0)}, {mode(1, {DeviceId(1)}), Duration(10)}};
  Plan plan = make_plan(problem, schedule, {}, {});
  plan.tasks[0].devices = {DeviceId(1)};
  EXPECT_THAT(broken(problem, plan),
              ElementsAre("once: task \"split\" runs on \"d1\": none of its modes is on these devices"));
}

// Two values cross at the same time: there and back, or twice the same way.
class ContentionCheck : public ::testing::Test {
 protected:
  /// Makers a, b and users of their values; all durations 1, all transfers 10.
  static std::vector<std::string> crossing(ClusterParts parts, Contention contention, std::size_t a, std::size_t a_to,
                                           std::size_t b, std::size_t b_to) {
    parts.contention = contention;
    const auto graph =
        ComputationGraph::create("g",
                                 {make_op("a", 1, {}, {TensorId(0)}), make_op("b", 1, {}, {TensorId(1)}),
                                  make_op("use a", 1, {TensorId(0)}), make_op("use b", 1, {TensorId(1)})},
                                 {make_tensor("x", 1), make_tensor("y", 1)}, {});
    const Problem problem = Problem::create(graph, Cluster::create(std::move(parts)));
    Schedule schedule;
    schedule.tasks = {{static_cast<ModeIndex>(a), Duration(0)},
                      {static_cast<ModeIndex>(b), Duration(1)},
                      {static_cast<ModeIndex>(a_to), Duration(20)},
                      {static_cast<ModeIndex>(b_to), Duration(21)}};
    schedule.transfers = {{ValueId(0), DeviceId(a), DeviceId(a_to), Duration(2), Duration(12)},
                          {ValueId(1), DeviceId(b), DeviceId(b_to), Duration(5), Duration(15)}};
    return broken(problem, make_plan(problem, schedule, {}, {}));
  }
  static ClusterParts devices() {
    ClusterParts parts;
    for (const char* name : {"d0", "d1", "d2", "d3"}) parts.devices.push_back({name, "", {}, {"compute"}});
    parts.default_link = Link{"", "", "", Duration(10), std::nullopt, true};
    return parts;
  }
  static ClusterParts chain(bool full_duplex) {
    ClusterParts parts = devices();
    parts.links = {{"first", "d0", "d1", Duration(10), std::nullopt, full_duplex},
                   {"second", "d1", "d2", Duration(0), std::nullopt, full_duplex}};
    return parts;
  }
};

TEST_F(ContentionCheck, endpoints_send_one_and_receive_one_at_a_time) {
  EXPECT_THAT(crossing(devices(), Contention::kNone, 0, 1, 0, 2), IsEmpty());
  EXPECT_THAT(crossing(devices(), Contention::kEndpoint, 0, 1, 0, 2),
              ElementsAre("transfer: device \"d0\" sends \"x\" until 12 ns, but \"y\" starts at 5 ns (contention "
                          "\"endpoint\")"));
  EXPECT_THAT(crossing(devices(), Contention::kEndpoint, 0, 2, 1, 2), ElementsAre(HasSubstr("\"d2\" receives \"x\"")));
  EXPECT_THAT(crossing(devices(), Contention::kEndpoint, 0, 1, 1, 0), IsEmpty());  // one each way
  EXPECT_THAT(crossing(devices(), Contention::kEndpoint, 0, 1, 2, 3), IsEmpty());
}

TEST_F(ContentionCheck, links_carry_one_at_a_time_per_direction_only_if_full_duplex) {
  EXPECT_THAT(crossing(chain(true), Contention::kLink, 0, 1, 0, 2),
              ElementsAre("transfer: link \"first\" carries \"x\" until 12 ns, but \"y\" starts at 5 ns (contention "
                          "\"link\")"));
  EXPECT_THAT(crossing(chain(true), Contention::kLink, 0, 1, 1, 0), IsEmpty());
  EXPECT_THAT(crossing(chain(false), Contention::kLink, 0, 1, 1, 0), ElementsAre(HasSubstr("link \"first\"")));
}

TEST_F(ContentionCheck, every_ordered_pair_has_a_default_link_of_its_own) {
  EXPECT_THAT(crossing(devices(), Contention::kLink, 0, 1, 0, 1),
              ElementsAre(HasSubstr("default link from \"d0\" to \"d1\" carries \"x\"")));
  EXPECT_THAT(crossing(devices(), Contention::kLink, 0, 1, 0, 2), IsEmpty());
  EXPECT_THAT(crossing(devices(), Contention::kLink, 0, 1, 1, 0), IsEmpty());
}

TEST(CheckPlacement, anti_colocation_binds_different_operators_whatever_their_replica) {
  std::vector<Operator> operators = {make_op("a", 1), make_op("b", 1)};
  operators[0].anti_colocation = operators[1].anti_colocation = {"apart"};
  const auto graph = ComputationGraph::create("g", operators, {}, {}, {.microbatches = 2, .replicas = 2});
  const Problem problem = Problem::create(graph, testing::tiny_cluster());
  Schedule schedule;  // a#0, b#0, a#1, b#1
  schedule.tasks = {{0, Duration(0)}, {1, Duration(0)}, {0, Duration(1)}, {1, Duration(1)}};
  EXPECT_THAT(broken(problem, make_plan(problem, schedule, {}, {})), IsEmpty());
  schedule.tasks[2] = {1, Duration(1)};
  schedule.tasks[3] = {1, Duration(2)};
  EXPECT_THAT(
      broken(problem, make_plan(problem, schedule, {}, {})),
      ElementsAre("placement: tasks \"a#1\" and \"b#0\" both run on \"d1\", which anti-colocation group \"apart\" "
                  "forbids"));
}

TEST(CheckPlacement, lists_of_devices_and_colocation_bind_per_replica) {
  std::vector<Operator> operators = {make_op("a", 1), make_op("b", 1)};
  operators[0].devices = {{"d0"}, {"d1"}};
  operators[0].colocation = operators[1].colocation = "together";
  const auto graph = ComputationGraph::create("g", operators, {}, {}, {.microbatches = 2, .replicas = 2});
  const Problem problem = Problem::create(graph, testing::tiny_cluster());
  Schedule schedule;  // a#0, b#0, a#1, b#1; b may run on both, so its modes are d0 and d1
  schedule.tasks = {{0, Duration(0)}, {0, Duration(1)}, {0, Duration(0)}, {1, Duration(1)}};
  Plan plan = make_plan(problem, schedule, {}, {});
  EXPECT_THAT(broken(problem, plan), IsEmpty());
  for (PlannedTask& task : plan.tasks) {
    if (task.op == OperatorId(0)) task.devices = {DeviceId(task.copy == 0 ? 1U : 0U)};
  }
  EXPECT_THAT(
      broken(problem, plan),
      ElementsAre("placement: task \"a#0\" runs on \"d1\", expected \"d0\"",
                  "placement: task \"a#1\" runs on \"d0\", expected \"d1\"",
                  "placement: task \"b#0\" runs on \"d0\", but \"a#0\" on \"d1\": colocation group \"together\"",
                  "placement: task \"b#1\" runs on \"d1\", but \"a#1\" on \"d0\": colocation group \"together\""));
}

// The plan of diamond_schedule(): makespan 51, at most 300 bytes on d0, both devices, 200 bytes moved, 65 of 102 ns
// busy; d0 is busy for 35 ns in the only microbatch.
class DiamondGoal : public DiamondCheck {
 protected:
  DiamondGoal() {
    plan.objectives = {{Objective::kPeakMemory, 300, 300, "some proof"},
                       {Objective::kMakespan, 51, 45, ""},
                       {Objective::kPeriod, 35, 33, ""},
                       {Objective::kDevices, 2, 1, ""},
                       {Objective::kCommunication, 200, 0, ""},
                       {Objective::kUtilisation, 362'745'098, 0, ""}};
    plan.deadline = Duration(51);
  }
  std::vector<std::string> messages() const {
    std::vector<std::string> result;
    for (const Violation& violation : check(problem.graph(), problem.cluster(), plan))
      result.push_back(violation.message);
    return result;
  }
};

TEST_F(DiamondGoal, is_accepted_with_all_its_objectives) { EXPECT_THAT(messages(), IsEmpty()); }

TEST_F(DiamondGoal, with_any_false_value_is_rejected) {
  for (ObjectiveFigure& figure : plan.objectives) {
    ++figure.value;
    EXPECT_THAT(messages(),
                ElementsAre(HasSubstr("objective \"" + std::string(to_string(figure.objective)) + "\" is")));
    --figure.value;
  }
}

TEST_F(DiamondGoal, with_a_missed_deadline_a_bound_above_its_value_or_a_false_status_is_rejected) {
  plan.deadline = Duration(50);
  EXPECT_THAT(messages(), ElementsAre("makespan 51 ns is above the deadline 50 ns"));
  plan.deadline = std::nullopt;
  plan.objectives = {{Objective::kDevices, 2, 3, ""}};
  EXPECT_THAT(messages(), ElementsAre("bound of objective \"devices\" is 3, above its value 2"));
  plan.objectives = {{Objective::kDevices, 2, 1, ""}};
  plan.status = PlanStatus::kOptimal;
  EXPECT_THAT(messages(), ElementsAre("status is \"optimal\", but objective \"devices\" is 2 and its bound 1"));
  plan.objectives = {{Objective::kDevices, 2, 2, ""}};  // optimal although the makespan is not
  EXPECT_THAT(messages(), IsEmpty());
  plan.objectives.push_back(plan.objectives.front());
  EXPECT_THAT(messages(), ElementsAre("objective \"devices\" is stated twice"));
}

}  // namespace
}  // namespace opweave
