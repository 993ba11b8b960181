#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "layouts/layout_problems.h"
#include "layouts/layout_spoiler.h"
#include "opweave/check_layouts.h"
#include "opweave/error.h"

namespace opweave {
namespace {

using ::testing::HasSubstr;

/// A training step on a gang of two whose parts make every kind of movement: x goes from S(0) to R (all_gather), y from
/// P to S(0) (reduce_scatter), z to another gang in S(1) (all_to_all) and whole to one device (all_gather), g from R
/// to parts elsewhere (send), h whole to the gang (transfers). ZeRO 3 for w, 2 for v, 1 for u, whole copies of s.
std::string every_kind() {
  return R"json({"format": "opweave.graph", "version": 2, "name": "kinds",
    "training": {"microbatches": 2, "gradient_bytes_per_weight_byte": 1, "optimizer_bytes_per_weight_byte": 2},
    "parameters": [{"name": "w", "bytes": 10}, {"name": "v", "bytes": 6}, {"name": "u", "bytes": 8},
                   {"name": "s", "bytes": 4}],
    "tensors": [{"name": "in", "bytes": 8}, {"name": "x", "bytes": 8}, {"name": "y", "bytes": 9},
                {"name": "z", "bytes": 5}, {"name": "g", "bytes": 4}, {"name": "h", "bytes": 3}],
    "operators": [
      {"name": "a.F", "phase": "F", "inputs": ["in"], "outputs": ["x"], "parameters": ["w", "v", "u", "s"],
       "options": [{"name": "two", "mesh": "left", "duration_ns": 10, "workspace_bytes": 3,
                    "layouts": {"in": "S(0)", "x": "S(0)"},
                    "parameters": {"w": {"weights": 2}, "v": {"gradients": 2}, "u": {"optimizer": 2}}}]},
      {"name": "b.F", "phase": "F", "inputs": ["x"], "outputs": ["y"],
       "options": [{"name": "sums", "mesh": "left", "duration_ns": 10, "layouts": {"y": "P"}}]},
      {"name": "c.F", "phase": "F", "inputs": ["y"], "outputs": ["z"],
       "options": [{"name": "rows", "mesh": "left", "duration_ns": 7, "layouts": {"y": "S(0)", "z": "S(0)"}}]},
      {"name": "d.F", "phase": "F", "inputs": ["z"], "outputs": ["g"],
       "options": [{"name": "columns", "mesh": "right", "duration_ns": 5, "layouts": {"z": "S(1)"}}]},
      {"name": "e.F", "phase": "F", "inputs": ["z", "g"], "outputs": ["h"],
       "options": [{"name": "alone", "devices": ["d3"], "duration_ns": 5}]},
      {"name": "a.B", "phase": "B", "inputs": ["h", "x", "g"], "parameters": ["w", "v", "u", "s"],
       "options": [{"name": "two", "mesh": "left", "duration_ns": 20, "layouts": {"x": "S(0)", "g": "S(0)"}}]},
      {"name": "a.O", "phase": "O", "parameters": ["w", "v", "u", "s"],
       "options": [{"name": "two", "mesh": "left", "duration_ns": 2}]}]})json";
}

LayoutPlan planned(const LayoutProblem& problem) {
  auto result = plan_with_layouts(problem, Budget({}, 300));
  if (!result.plan) throw InternalError("no plan: " + result.result.detail);
  return std::move(*result.plan);
}

const LayoutMovement& movement(const LayoutPlan& plan, Moved moved, LayoutMovementKind kind) {
  for (const LayoutMovement& one : plan.movements) {
    if (one.key.moved == moved && one.kind == kind) return one;
  }
  throw InternalError("no such movement");
}
LayoutMovement& movement(LayoutPlan& plan, Moved moved, LayoutMovementKind kind) {
  return const_cast<LayoutMovement&>(movement(std::as_const(plan), moved, kind));
}

std::int64_t lasts(const LayoutPlan& plan, Moved moved, LayoutMovementKind kind) {
  const LayoutMovement& one = movement(plan, moved, kind);
  return (one.end - one.start).value();
}

TEST(Layouts, every_kind_of_movement_is_derived_once_and_lasts_as_long_as_its_formula_says) {
  const LayoutProblem problem = testing::layout_problem(every_kind(), testing::four_devices());
  const LayoutPlan plan = planned(problem);
  using Kind = LayoutMovementKind;
  // Two devices, 2 ns and a byte per ns: one step of half the bytes, rounded up.
  EXPECT_EQ(lasts(plan, Moved::kTensor, Kind::kAllGather), 2 + 4);
  EXPECT_EQ(lasts(plan, Moved::kTensor, Kind::kReduceScatter), 2 + 5);
  // Parts of ceil(5 / 2) bytes, in max(2, 2) steps from 2 devices: 2 x 2 + 3 x 2 / 2.
  EXPECT_EQ(lasts(plan, Moved::kTensor, Kind::kAllToAll), 4 + 3);
  // Each device gets 4 / 2 bytes from a device of its own.
  EXPECT_EQ(lasts(plan, Moved::kTensor, Kind::kSend), 2 + 2);
  EXPECT_EQ(lasts(plan, Moved::kForwardWeights, Kind::kAllGather), 2 + 5);
  EXPECT_EQ(lasts(plan, Moved::kBackwardWeights, Kind::kAllGather), 2 + 5);
  // Gradients are as large as weights: w (10 bytes) is reduced first.
  EXPECT_EQ(lasts(plan, Moved::kGradient, Kind::kAllReduce), 4 + 4);
  // x, y, z twice and g for each of two microbatches; w gathered forward and backward, w and v reduced behind a.B for
  // each; u and s reduced once; v and u gathered after a.O.
  EXPECT_EQ(plan.movements.size(), 2U * 5 + 2 * 2 + 2 * 2 + 2 + 2);
  // h to both devices of the left gang, for two microbatches; g is on d3.
  EXPECT_EQ(plan.plan.transfers.size(), 2U * 2);
  // On each device of the left gang: w 5 + 5 + 10, v 6 + 3 + 6, u 8 + 8 + 8, s 4 + 4 + 8.
  EXPECT_EQ(plan.plan.statistics.devices[0].persistent_memory, Bytes(20 + 15 + 24 + 16));
}

PlannedTask& task(LayoutPlan& plan, std::size_t op) {
  for (PlannedTask& one : plan.plan.tasks) {
    if (one.op == OperatorId(op)) return one;
  }
  throw InternalError("no such task");
}

template <class Run>
void shift(Run& run, std::int64_t start) {
  run.end = Duration(start) + (run.end - run.start);
  run.start = Duration(start);
}

/// What a plan says of options, tasks and movements.
std::vector<testing::LayoutSpoiler> spoilers_of_choices() {
  using Kind = LayoutMovementKind;
  return {
      {Rule::kOption, "no option", [](LayoutPlan& p) { p.options[1] = "other"; }},
      {Rule::kOption, "no option", [](LayoutPlan& p) { p.options.clear(); }},
      {Rule::kOption, "others of its operator",
       [](LayoutPlan& p) {
         std::size_t seen = 0;
         for (PlannedTask& one : p.plan.tasks) {
           if (one.op == OperatorId(1) && seen++ == 1) one.devices = {DeviceId(0)};
         }
       }},
      {Rule::kOption, "replicas", [](LayoutPlan& p) { p.plan.settings.training.replicas = 2; }},
      {Rule::kOption, "contention", [](LayoutPlan& p) { p.plan.settings.contention = Contention::kLink; }},
      {Rule::kOnce, "does not run",
       [](LayoutPlan& p) {
         std::erase_if(p.plan.tasks, [](const PlannedTask& one) { return one.op == OperatorId(1) && one.copy == 1; });
       }},
      {Rule::kOnce, "runs twice", [](LayoutPlan& p) { p.plan.tasks.push_back(task(p, 2)); }},
      {Rule::kOnce, "lasts", [](LayoutPlan& p) { task(p, 2).end += Duration(1); }},
      {Rule::kMovement, "is missing",
       [](LayoutPlan& p) {
         std::erase_if(p.movements, [](const LayoutMovement& one) { return one.kind == Kind::kAllToAll; });
       }},
      {Rule::kMovement, "happens twice",
       [](LayoutPlan& p) { p.movements.push_back(movement(p, Moved::kTensor, Kind::kAllGather)); }},
      {Rule::kMovement, "no option asks",
       [](LayoutPlan& p) { movement(p, Moved::kTensor, Kind::kSend).key.layout.dim = 3; }},
      {Rule::kMovement, "no option asks",
       [](LayoutPlan& p) {
         movement(p, Moved::kTensor, Kind::kSend).key.target = {DeviceId(1), DeviceId(2)};
       }},
      {Rule::kMovement, "expected \"reduce_scatter\"",
       [](LayoutPlan& p) { movement(p, Moved::kTensor, Kind::kReduceScatter).kind = Kind::kAllReduce; }},
      {Rule::kMovement, "is on",
       [](LayoutPlan& p) {
         movement(p, Moved::kTensor, Kind::kAllToAll).devices = {DeviceId(2), DeviceId(3)};
       }},
      {Rule::kMovement, "lasts", [](LayoutPlan& p) { movement(p, Moved::kTensor, Kind::kSend).end += Duration(1); }},
  };
}

/// When movements and transfers happen, memory and figures.
std::vector<testing::LayoutSpoiler> spoilers_of_times() {
  using Kind = LayoutMovementKind;
  constexpr std::int64_t kLate = 100'000;
  return {
      {Rule::kReduction, "is missing",
       [](LayoutPlan& p) {
         std::erase_if(p.movements, [](const LayoutMovement& one) { return one.kind == Kind::kAllReduce; });
       }},
      {Rule::kReduction, "is missing",
       [](LayoutPlan& p) {
         std::erase_if(p.movements, [](const LayoutMovement& one) { return one.key.moved == Moved::kBackwardWeights; });
       }},
      {Rule::kReduction, "lasts",
       [](LayoutPlan& p) { movement(p, Moved::kGradient, Kind::kAllReduce).end -= Duration(1); }},
      {Rule::kReduction, "but task \"a.B",
       [](LayoutPlan& p) { shift(movement(p, Moved::kGradient, Kind::kAllReduce), 0); }},
      {Rule::kReduction, "but task \"a.B",
       [](LayoutPlan& p) { shift(movement(p, Moved::kGradient, Kind::kReduceScatter), 0); }},
      {Rule::kReduction, "task \"a.O",
       [](LayoutPlan& p) { shift(movement(p, Moved::kGradient, Kind::kAllReduce), kLate); }},
      {Rule::kReduction, "but task \"a.O",
       [](LayoutPlan& p) { shift(movement(p, Moved::kUpdate, Kind::kAllGather), 0); }},
      {Rule::kReduction, "task \"a.F",
       [](LayoutPlan& p) { shift(movement(p, Moved::kForwardWeights, Kind::kAllGather), kLate); }},
      {Rule::kReduction, "task \"a.B",
       [](LayoutPlan& p) { shift(movement(p, Moved::kBackwardWeights, Kind::kAllGather), kLate); }},
      {Rule::kPresence, "movement of \"x",
       [](LayoutPlan& p) { shift(movement(p, Moved::kTensor, Kind::kAllGather), kLate); }},
      {Rule::kPresence, "but task \"a.F",
       [](LayoutPlan& p) { shift(movement(p, Moved::kTensor, Kind::kAllGather), 0); }},
      {Rule::kPresence, "but task \"c.F",
       [](LayoutPlan& p) { shift(movement(p, Moved::kTensor, Kind::kAllToAll), 0); }},
      {Rule::kPresence, "is not on", [](LayoutPlan& p) { p.plan.transfers.clear(); }},
      {Rule::kPresence, "second", [](LayoutPlan& p) { p.plan.transfers.push_back(p.plan.transfers.front()); }},
      {Rule::kPresence, "task \"a.O", [](LayoutPlan& p) { shift(task(p, 6), 0); }},
      {Rule::kTransfer, "lasts", [](LayoutPlan& p) { p.plan.transfers.front().end += Duration(1); }},
      {Rule::kTransfer, "but task", [](LayoutPlan& p) { shift(p.plan.transfers.front(), 0); }},
      {Rule::kTransfer, "no such whole value", [](LayoutPlan& p) { p.plan.transfers.front().tensor = TensorId(1); }},
      {Rule::kTransfer, "nobody there",
       [](LayoutPlan& p) {
         for (PlannedTransfer& one : p.plan.transfers) {
           if (one.tensor == TensorId(5)) one.destination = DeviceId(2);
         }
       }},
      {Rule::kStream, "on the same stream",
       [](LayoutPlan& p) {
         shift(movement(p, Moved::kGradient, Kind::kAllReduce),
               movement(p, Moved::kGradient, Kind::kReduceScatter).start.value());
       }},
      {Rule::kStream, "on the same stream", [](LayoutPlan& p) { shift(task(p, 1), task(p, 0).start.value()); }},
      {Rule::kMemory, "reaches", [](LayoutPlan& p) { p.plan.settings.memory_limit = Bytes(40); }},
      {Rule::kFigures, "makespan_ns", [](LayoutPlan& p) { p.plan.statistics.makespan += Duration(1); }},
      {Rule::kFigures, "peak_memory", [](LayoutPlan& p) { p.plan.statistics.devices[2].peak_memory += Bytes(1); }},
      {Rule::kFigures, "persistent_memory",
       [](LayoutPlan& p) { p.plan.statistics.devices[1].persistent_memory += Bytes(1); }},
      {Rule::kFigures, "above the makespan",
       [](LayoutPlan& p) {
         p.plan.bounds.push_back({"false", p.plan.statistics.makespan + Duration(1), ""});
       }},
      {Rule::kFigures, "period_ns", [](LayoutPlan& p) { p.plan.statistics.period += Duration(1); }},
  };
}

TEST(Layouts, a_valid_plan_is_accepted_and_every_corruption_named_by_its_rule) {
  const LayoutProblem problem = testing::layout_problem(every_kind(), testing::four_devices());
  const LayoutPlan valid = planned(problem);
  testing::expect_each_named(problem, valid, spoilers_of_choices());
  testing::expect_each_named(problem, valid, spoilers_of_times());
}

TEST(Layouts, partial_sums_that_another_gang_wants_are_summed_where_they_were_made_whoever_reads_them) {
  // Both readers want y whole elsewhere: one all_reduce on the left, then whole values are sent.
  const LayoutProblem problem = testing::layout_problem(R"json({"format": "opweave.graph", "version": 2,
    "tensors": [{"name": "y", "bytes": 8}], "operators": [
      {"name": "a", "outputs": ["y"], "options": [{"name": "o", "mesh": "left", "duration_ns": 1, "layouts": {"y": "P"}}]},
      {"name": "b", "inputs": ["y"], "options": [{"name": "o", "devices": ["d2"], "duration_ns": 1}]},
      {"name": "c", "inputs": ["y"], "options": [{"name": "o", "devices": ["d3"], "duration_ns": 1}]}]})json",
                                                        testing::four_devices());
  const LayoutPlan plan = planned(problem);
  ASSERT_EQ(plan.movements.size(), 1U);
  EXPECT_EQ(plan.movements.front().kind, LayoutMovementKind::kAllReduce);
  EXPECT_EQ(plan.plan.transfers.size(), 2U);
  // a 1, all_reduce 2 x 2 + 8, transfer 2 + 8, reader 1
  EXPECT_EQ(plan.plan.statistics.makespan, Duration(1 + 12 + 10 + 1));
  EXPECT_EQ(plan.plan.status, PlanStatus::kOptimal);
}

TEST(Layouts, a_part_of_what_is_there_whole_is_free) {
  const LayoutProblem problem = testing::layout_problem(R"json({"format": "opweave.graph", "version": 2,
    "tensors": [{"name": "y", "bytes": 8}], "operators": [
      {"name": "a", "outputs": ["y"], "options": [{"name": "o", "mesh": "left", "duration_ns": 1}]},
      {"name": "b", "inputs": ["y"], "options": [{"name": "o", "mesh": "left", "duration_ns": 1,
                                                 "layouts": {"y": "S(0)"}}]}]})json",
                                                        testing::four_devices());
  const LayoutPlan plan = planned(problem);
  EXPECT_TRUE(plan.movements.empty());
  EXPECT_EQ(plan.plan.statistics.makespan, Duration(2));
}

void expect_refused(const std::string& graph, const char* text) {
  try {
    (void)testing::layout_problem(graph, testing::four_devices());
    ADD_FAILURE() << "accepted, expected: " << text;
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr(text));
  }
}

std::string with_option(const std::string& option, const std::string& more = "") {
  return R"json({"format": "opweave.graph", "version": 2, "parameters": [{"name": "w", "bytes": 8}],
    "tensors": [{"name": "y", "bytes": 8}], "operators": [{"name": "a", "outputs": ["y"], "parameters": ["w"])json" +
         more + R"json(, "options": [{"name": "o", "duration_ns": 1, )json" + option + "}]}]}";
}

TEST(Layouts, files_that_say_nothing_sensible_are_refused_by_place) {
  expect_refused(with_option(R"json("mesh": "up")json"), "/operators/0/options/0/mesh: value is \"up\"");
  expect_refused(with_option(R"json("workspace_bytes": 0)json"), "\"mesh\" and \"devices\", expected one of them");
  expect_refused(with_option(R"json("devices": ["d0", "d0"])json"), "not in the list yet");
  expect_refused(with_option(R"json("mesh": "left", "layouts": {"z": "R"})json"), "\"z\" is no tensor of the operator");
  expect_refused(with_option(R"json("mesh": "left", "layouts": {"y": "S"})json"),
                 "expected \"R\", \"P\", or \"S(dim)\"");
  expect_refused(with_option(R"json("mesh": "left", "parameters": {"w": {"split": 3}})json"), "expected a divisor");
  expect_refused(with_option(R"json("mesh": "all", "parameters": {"w": {"weights": 4, "gradients": 1}})json"),
                 "gradients in 1 parts");
  expect_refused(with_option(R"json("mesh": "left")json", R"json(, "duration_ns": 4)json"), "beside \"options\"");
  expect_refused(R"json({"format": "opweave.graph", "version": 2, "operators": [{"name": "a", "duration_ns": 1}]})json",
                 "options");
  expect_refused(R"json({"format": "opweave.graph", "version": 2, "operators": [
    {"name": "a", "choice": "c", "options": [{"name": "o", "mesh": "left", "duration_ns": 1}]},
    {"name": "b", "choice": "c", "options": [{"name": "o", "mesh": "right", "duration_ns": 1}]}]})json",
                 "\"a\" and \"b\" choose together");
  expect_refused(R"json({"format": "opweave.graph", "version": 2, "training": {"microbatches": 2, "replicas": 2},
    "operators": [{"name": "a", "options": [{"name": "o", "mesh": "left", "duration_ns": 1}]}]})json",
                 "replicas are 2");
}

TEST(Layouts, readers_of_version_1_refuse_options_by_name) {
  try {
    (void)parse_graph(with_option(R"json("mesh": "left")json"), "graph.json");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("options with layouts, which this command does not know"));
  }
}

TEST(Layouts, a_choice_without_a_movement_that_makes_it_is_no_plan) {
  const LayoutProblem problem = testing::layout_problem(R"json({"format": "opweave.graph", "version": 2,
    "tensors": [{"name": "y", "bytes": 8}], "operators": [
      {"name": "a", "outputs": ["y"], "options": [{"name": "o", "mesh": "left", "duration_ns": 1}]},
      {"name": "b", "inputs": ["y"], "options": [{"name": "o", "mesh": "left", "duration_ns": 1,
                                                 "layouts": {"y": "P"}}]}]})json",
                                                        testing::four_devices());
  const LayoutPlanResult result = plan_with_layouts(problem, Budget({}, 100));
  EXPECT_FALSE(result.plan);
  EXPECT_EQ(result.result.reason, PlanResult::Reason::kInfeasible);
  EXPECT_THAT(result.result.detail, HasSubstr("no movement makes partial sums"));
}

TEST(Layouts, equal_layers_choose_alike_and_the_same_work_gives_the_same_plan) {
  // Twenty equal layers: too many selections to plan them all; the gang is four times as fast.
  std::string tensors;
  std::string operators;
  for (int i = 0; i < 20; ++i) {
    const std::string in = i > 0 ? fmt::format("\"t{}\"", i - 1) : "";
    tensors += fmt::format(R"json({}{{"name": "t{}", "bytes": 4}})json", i > 0 ? ", " : "", i);
    operators += fmt::format(
        R"json({}{{"name": "f{}", "inputs": [{}], "outputs": ["t{}"], "options": [
             {{"name": "one", "mesh": "one", "duration_ns": 400}}, {{"name": "four", "mesh": "all", "duration_ns": 100}}]}})json",
        i > 0 ? ", " : "", i, in, i);
  }
  const LayoutProblem problem =
      testing::layout_problem(R"json({"format": "opweave.graph", "version": 2, "tensors": [)json" + tensors +
                                  R"json(], "operators": [)json" + operators + "]}",
                              testing::four_devices());
  const LayoutPlan plan = planned(problem);
  EXPECT_EQ(plan.plan.statistics.makespan, Duration(2000));
  EXPECT_EQ(plan.plan.status, PlanStatus::kOptimal);
  for (const std::string& option : plan.options) EXPECT_EQ(option, "four");
  EXPECT_EQ(layout_plan_to_json(planned(problem), problem.graph(), problem.cluster()),
            layout_plan_to_json(plan, problem.graph(), problem.cluster()));
}

}  // namespace
}  // namespace opweave
