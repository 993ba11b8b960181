#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "layouts/layout_mode_problems.h"
#include "layouts/layout_spoiler.h"
#include "list_scheduling/list_schedule.h"
#include "opweave/check_layouts.h"
#include "opweave/error.h"

namespace opweave {
namespace {

using ::testing::HasSubstr;

/// A layer of two operators on a gang, whose all_gather of x and of the weights is within it; partial sums y that the
/// next operator reads in parts; z, which goes to another gang; and back.
std::string layer_and_back() {
  return R"json({"format": "opweave.graph", "version": 2, "name": "layer",
    "training": {"microbatches": 2, "gradient_bytes_per_weight_byte": 1, "optimizer_bytes_per_weight_byte": 2},
    "parameters": [{"name": "w", "bytes": 10}],
    "tensors": [{"name": "x", "bytes": 8}, {"name": "y", "bytes": 12}, {"name": "z", "bytes": 6},
                {"name": "h", "bytes": 5}, {"name": "gz", "bytes": 6}, {"name": "gx", "bytes": 4}],
    "operators": [
      {"name": "a.F", "phase": "F", "layer": "L", "outputs": ["x"], "parameters": ["w"],
       "options": [{"name": "o", "mesh": "left", "duration_ns": 10, "workspace_bytes": 1, "layouts": {"x": "S(0)"},
                    "parameters": {"w": {"weights": 2}}}]},
      {"name": "b.F", "phase": "F", "layer": "L", "inputs": ["x"], "outputs": ["y"],
       "options": [{"name": "o", "mesh": "left", "duration_ns": 7, "layouts": {"y": "P"}}]},
      {"name": "c.F", "phase": "F", "inputs": ["y"], "outputs": ["z"],
       "options": [{"name": "o", "mesh": "left", "duration_ns": 6, "layouts": {"y": "S(0)", "z": "S(0)"}}]},
      {"name": "d.F", "phase": "F", "inputs": ["z"], "outputs": ["h"],
       "options": [{"name": "o", "mesh": "right", "duration_ns": 5, "layouts": {"z": "S(0)"}}]},
      {"name": "d.B", "phase": "I", "inputs": ["h", "z"], "outputs": ["gz"],
       "options": [{"name": "o", "mesh": "right", "duration_ns": 5, "layouts": {"z": "S(0)", "gz": "S(0)"}}]},
      {"name": "b.B", "phase": "I", "inputs": ["gz", "x", "y"], "outputs": ["gx"],
       "options": [{"name": "o", "mesh": "left", "duration_ns": 9, "layouts": {"gz": "S(0)", "y": "S(0)"}}]},
      {"name": "a.B", "phase": "B", "inputs": ["gx", "x", "h"], "parameters": ["w"],
       "options": [{"name": "o", "mesh": "left", "duration_ns": 20, "layouts": {"x": "S(1)"}}]},
      {"name": "a.O", "phase": "O", "parameters": ["w"],
       "options": [{"name": "o", "mesh": "left", "duration_ns": 2}]}]})json";
}

LayoutProblem problem_with_modes(std::optional<std::int64_t> host_memory = {}) {
  const std::string cluster = testing::four_devices_with_hosts(host_memory);
  const Cluster parsed = parse_cluster(cluster, "cluster.json");
  LayoutGraph read =
      parse_layout_graph(layer_and_back(), "graph.json", parsed, parse_meshes(cluster, "cluster.json", parsed));
  ProblemSettings settings = default_settings(read.graph, parsed);
  settings.memory_modes = {true, true};
  return LayoutProblem::create(std::move(read), parsed, settings);
}

/// In microbatch 0 all of the layer is dropped, and what the other gang got of z; in microbatch 1 the whole x and the
/// parts of y are on hosts, and h is dropped.
LayoutPlan plan_with_modes(const LayoutProblem& problem) {
  const auto derived = DerivedProblem::create(problem, LayoutSelection(problem.choices().size(), 0));
  const ComputationGraph& graph = derived.problem().graph();
  MemoryChoice choice(derived.problem().value_count(), MemoryMode::kKeep);
  const auto set = [&](const char* name, std::uint32_t copy, MemoryMode mode) {
    for (std::size_t t = 0; t < graph.tensors().size(); ++t) {
      if (graph.tensors()[t].name != name) continue;
      choice[derived.problem().value_of(TensorId(t), copy).index()] = mode;
      return;
    }
    throw InternalError(std::string("no tensor ") + name);
  };
  set("x", 0, MemoryMode::kDrop);
  set("x in R on d0+d1", 0, MemoryMode::kDrop);
  set("w forward-weights: all_gather value", 0, MemoryMode::kDrop);
  set("z in S(0) on d2+d3", 0, MemoryMode::kDrop);
  set("x in R on d0+d1", 1, MemoryMode::kHost);
  set("y in S(0) on d0+d1", 1, MemoryMode::kHost);
  set("h", 1, MemoryMode::kDrop);
  const auto movements = ProblemWithMovements::create(derived.problem(), choice);
  const auto schedule = list_schedule(movements.problem(), std::vector<ModeIndex>(movements.problem().task_count(), 0));
  if (!schedule) throw InternalError("no schedule");
  return derived.plan(movements, *schedule, {}, {});
}

constexpr std::int64_t kFar = 100'000;

template <class Run>
void move_to(Run& run, std::int64_t start) {
  run.end = Duration(start) + (run.end - run.start);
  run.start = Duration(start);
}

LayoutMovement& again_of(LayoutPlan& plan, Moved moved, LayoutMovementKind kind) {
  for (LayoutMovement& one : plan.movements) {
    if (one.again && one.key.moved == moved && one.kind == kind) return one;
  }
  throw InternalError("no such movement again");
}

FormReturn& back_of(LayoutPlan& plan, MovementKind kind, std::size_t which = 0) {
  for (FormReturn& one : plan.returns) {
    if (one.kind == kind && which-- == 0) return one;
  }
  throw InternalError("nothing of this kind comes back");
}

FormMode& mode_of(LayoutPlan& plan, MemoryMode mode, bool is_moved) {
  for (FormMode& one : plan.modes) {
    if (one.mode == mode && one.value.moved == Moved::kTensor && one.value.target.empty() != is_moved) return one;
  }
  throw InternalError("no such mode");
}

/// What a plan says of modes, and of what happens again for them.
std::vector<testing::LayoutSpoiler> spoilers_of_modes() {
  using Kind = LayoutMovementKind;
  constexpr auto kGather = Kind::kAllGather;
  return {
      {Rule::kModes, "may not have", [](LayoutPlan& p) { p.plan.settings.memory_modes = {}; }},
      {Rule::kModes, "may not have",
       [](LayoutPlan& p) {
         p.plan.settings.memory_modes = {true, false};
       }},
      {Rule::kModes, "may not have",  // copies of what comes from another gang would be on both
       [](LayoutPlan& p) {
         for (FormMode& mode : p.modes) {
           if (mode.value.target == std::vector{DeviceId(2), DeviceId(3)}) mode.mode = MemoryMode::kHost;
         }
       }},
      {Rule::kModes, "two modes", [](LayoutPlan& p) { p.modes.push_back(p.modes.front()); }},
      {Rule::kModes, "does not exist", [](LayoutPlan& p) { mode_of(p, MemoryMode::kDrop, true).value.layout.dim = 7; }},
      {Rule::kModes, "does not exist", [](LayoutPlan& p) { mode_of(p, MemoryMode::kHost, true).value.copy = 2; }},
      {Rule::kModes, "does not exist", [](LayoutPlan& p) { p.modes.front().value.tensor = TensorId(99); }},
      {Rule::kModes, "weights",
       [](LayoutPlan& p) {
         for (FormMode& mode : p.modes) {
           if (mode.value.moved != Moved::kTensor) mode.mode = MemoryMode::kHost;
         }
       }},
      {Rule::kModes, "does not happen again",
       [](LayoutPlan& p) {
         std::erase_if(p.movements, [](const LayoutMovement& one) {
           return one.again && one.key.moved == Moved::kTensor && one.kind == kGather;
         });
       }},
      {Rule::kModes, "does not happen again",
       [](LayoutPlan& p) {
         std::erase_if(p.movements,
                       [](const LayoutMovement& one) { return one.again && one.key.moved != Moved::kTensor; });
       }},
      {Rule::kModes, "happens again, but no value",
       [](LayoutPlan& p) { again_of(p, Moved::kTensor, kGather).key.copy = 1; }},
      {Rule::kModes, "happens again, but no value",
       [](LayoutPlan& p) { std::erase_if(p.modes, [](const FormMode& m) { return m.mode == MemoryMode::kDrop; }); }},
      {Rule::kModes, "happens again",
       [](LayoutPlan& p) {
         for (LayoutMovement& one : p.movements) {
           if (one.key.moved == Moved::kBackwardWeights) {
             LayoutMovement more = one;
             more.again = true;
             p.movements.push_back(more);
             return;
           }
         }
       }},
      {Rule::kModes, "does not run again",
       [](LayoutPlan& p) {
         p.returns.erase(std::ranges::find(p.returns, MovementKind::kRecompute, &FormReturn::kind));
       }},
      {Rule::kModes, "there twice", [](LayoutPlan& p) { p.returns.push_back(back_of(p, MovementKind::kRecompute)); }},
      {Rule::kModes, "copied twice", [](LayoutPlan& p) { p.returns.push_back(back_of(p, MovementKind::kCopyIn)); }},
      {Rule::kModes, "not copied in",
       [](LayoutPlan& p) { p.returns.erase(std::ranges::find(p.returns, MovementKind::kCopyIn, &FormReturn::kind)); }},
      {Rule::kModes, "its mode is not",
       [](LayoutPlan& p) { std::erase_if(p.modes, [](const FormMode& m) { return m.mode == MemoryMode::kHost; }); }},
      {Rule::kModes, "does not exist",
       [](LayoutPlan& p) { back_of(p, MovementKind::kCopyOut).devices = {DeviceId(9)}; }},
  };
}

/// When, where and how long what happens again happens, and the figures.
std::vector<testing::LayoutSpoiler> spoilers_of_what_happens_again() {
  using Kind = LayoutMovementKind;
  constexpr auto kGather = Kind::kAllGather;
  return {
      {Rule::kMovement, "happens twice",
       [](LayoutPlan& p) { p.movements.push_back(again_of(p, Moved::kTensor, Kind::kSend)); }},
      {Rule::kMovement, "again lasts", [](LayoutPlan& p) { again_of(p, Moved::kTensor, kGather).end += Duration(1); }},
      {Rule::kMovement, "again is on",
       [](LayoutPlan& p) { again_of(p, Moved::kTensor, Kind::kSend).devices.pop_back(); }},
      {Rule::kMovement, "again is \"", [](LayoutPlan& p) { again_of(p, Moved::kTensor, Kind::kSend).kind = kGather; }},
      {Rule::kReduction, "again lasts",
       [](LayoutPlan& p) { again_of(p, Moved::kForwardWeights, kGather).end -= Duration(1); }},
      {Rule::kReduction, "again ends",
       [](LayoutPlan& p) { move_to(again_of(p, Moved::kForwardWeights, kGather), kFar); }},
      {Rule::kRecompute, "but first ends", [](LayoutPlan& p) { move_to(again_of(p, Moved::kTensor, kGather), 0); }},
      {Rule::kRecompute, "but first ends", [](LayoutPlan& p) { move_to(again_of(p, Moved::kTensor, Kind::kSend), 0); }},
      {Rule::kRecompute, "the unit that makes \"x\"",
       [](LayoutPlan& p) {
         for (FormReturn& back : p.returns) {
           if (back.kind == MovementKind::kRecompute && back.op == OperatorId(1)) move_to(back, kFar);
         }
       }},
      {Rule::kRecompute, "runs again on",
       [](LayoutPlan& p) { back_of(p, MovementKind::kRecompute).devices = {DeviceId(0)}; }},
      {Rule::kOnce, "again lasts", [](LayoutPlan& p) { back_of(p, MovementKind::kRecompute).end += Duration(1); }},
      {Rule::kPresence, "again",  // what is gathered again within the layer
       [](LayoutPlan& p) { move_to(again_of(p, Moved::kTensor, kGather), kFar); }},
      {Rule::kPresence, "copy in", [](LayoutPlan& p) { move_to(back_of(p, MovementKind::kCopyIn), kFar); }},
      {Rule::kPresence, "not back",
       [](LayoutPlan& p) { std::erase_if(p.plan.transfers, [](const PlannedTransfer& one) { return one.again; }); }},
      {Rule::kTransfer, "nobody there",
       [](LayoutPlan& p) {
         for (PlannedTransfer& one : p.plan.transfers) one.again = false;
       }},
      {Rule::kCopy, "lasts", [](LayoutPlan& p) { back_of(p, MovementKind::kCopyOut).end += Duration(1); }},
      {Rule::kCopy, "is on", [](LayoutPlan& p) { back_of(p, MovementKind::kCopyOut).devices.pop_back(); }},
      {Rule::kCopy, "made at", [](LayoutPlan& p) { move_to(back_of(p, MovementKind::kCopyOut), 0); }},
      {Rule::kCopy, "it is out at", [](LayoutPlan& p) { move_to(back_of(p, MovementKind::kCopyIn), 0); }},
      {Rule::kStream, "again",
       [](LayoutPlan& p) {
         const LayoutMovement& other = again_of(p, Moved::kForwardWeights, kGather);
         move_to(again_of(p, Moved::kTensor, kGather), other.start.value());
       }},
      {Rule::kMemory, "reaches", [](LayoutPlan& p) { p.plan.settings.memory_limit = Bytes(30); }},
      {Rule::kFigures, "recomputed_ns", [](LayoutPlan& p) { p.plan.statistics.recomputed += Duration(1); }},
      {Rule::kFigures, "copied_out_bytes", [](LayoutPlan& p) { p.plan.statistics.bytes_copied_out += Bytes(1); }},
      {Rule::kFigures, "host_peak_bytes", [](LayoutPlan& p) { p.plan.statistics.devices[1].host_peak += Bytes(1); }},
      {Rule::kFigures, "peak_memory", [](LayoutPlan& p) { p.plan.statistics.devices[1].peak_memory += Bytes(1); }},
      {Rule::kFigures, "of its own",
       [](LayoutPlan& p) {
         p.plan.modes.push_back({TensorId(0), 0, MemoryMode::kDrop});
       }},
  };
}

TEST(LayoutModeRules, a_valid_plan_is_accepted_and_every_corruption_named_by_its_rule) {
  const LayoutProblem problem = problem_with_modes();
  const LayoutPlan valid = plan_with_modes(problem);
  testing::expect_each_named(problem, valid, spoilers_of_modes());
  testing::expect_each_named(problem, valid, spoilers_of_what_happens_again());
}

TEST(LayoutModeRules, hosts_hold_no_more_than_they_may) {
  const LayoutPlan plan = plan_with_modes(problem_with_modes());
  const LayoutProblem small = problem_with_modes(7);  // x has 8 bytes on each device
  const auto violations = check(small.graph(), small.cluster(), plan);
  ASSERT_FALSE(violations.empty());
  EXPECT_EQ(violations.front().rule, Rule::kHostMemory);
}

TEST(LayoutModeRules, plans_are_read_as_they_were_written) {
  const LayoutProblem problem = problem_with_modes();
  const LayoutPlan plan = plan_with_modes(problem);
  const std::string text = layout_plan_to_json(plan, problem.graph(), problem.cluster());
  const LayoutPlan again = parse_layout_plan(text, "p", problem.graph(), problem.cluster());
  EXPECT_EQ(layout_plan_to_json(again, problem.graph(), problem.cluster()), text);
  EXPECT_THAT(text, HasSubstr(R"("parameter": "w", "microbatch": 0, "mode": "drop")"));
  const auto derived = DerivedProblem::create(problem, problem.selection_of(again));
  EXPECT_THROW((void)derived.schedule(again), InputError);
  const OrdinaryPlan ordinary = derived.with_movements(again);
  EXPECT_EQ(ordinary.plan.statistics.makespan, plan.plan.statistics.makespan);
}

TEST(LayoutModeRules, a_layer_that_is_dropped_gathers_again_what_is_gathered_within_it) {
  const LayoutProblem problem = problem_with_modes();
  const LayoutPlan plan = plan_with_modes(problem);
  int again = 0;
  for (const LayoutMovement& movement : plan.movements) again += movement.again ? 1 : 0;
  // x and the weights, for the layer; z, which the other gang dropped. The sum of y is not of the layer.
  EXPECT_EQ(again, 3);
  int runs = 0;
  for (const FormReturn& back : plan.returns) runs += back.kind == MovementKind::kRecompute ? 1 : 0;
  EXPECT_EQ(runs, 2 + 1);  // a.F and b.F; d.F for h of microbatch 1
}

}  // namespace
}  // namespace opweave
