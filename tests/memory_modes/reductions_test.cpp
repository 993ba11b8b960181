#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "memory_modes/carry.h"
#include "memory_modes/reductions.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/experts.h"
#include "opweave/io.h"
#include "opweave/memory_modes.h"
#include "opweave/pipeline.h"
#include "opweave/planner.h"
#include "support/brute_force.h"

namespace opweave {
namespace {

std::string first_violation(const std::vector<Violation>& violations) {
  return violations.empty() ? "" : std::string(to_string(violations[0].rule)) + ": " + violations[0].message;
}

struct TwoCopies {
  std::string stream = "comm";
  std::vector<std::string> streams = {"compute", "comm"};
  std::vector<std::vector<std::string>> devices = {{"d0"}, {"d1"}};
  Contention contention = Contention::kNone;

  /// F of 2, B of 3, O of 4 ns and 100 bytes of weights, on d0 for the first replica and on d1 for the second; a
  /// microbatch each. Links of 1 ns and 10 bytes per ns.
  [[nodiscard]] Problem problem() const {
    std::vector<Operator> operators(3);
    const Phase phases[] = {Phase::kForward, Phase::kBackward, Phase::kOptimizer};
    const std::int64_t ns[] = {2, 3, 4};
    const char* names[] = {"F", "B", "O"};
    for (std::size_t i = 0; i < 3; ++i) {
      operators[i].name = names[i];
      operators[i].phase = phases[i];
      operators[i].durations = {{"", Duration(ns[i])}};
      operators[i].devices = devices;
      operators[i].parameters = {ParameterId(0)};
    }
    std::vector<Tensor> tensors = {{"a", Bytes(10), {}, {}, {}}};
    operators[0].outputs = {TensorId(0)};
    operators[1].inputs = {TensorId(0)};
    Training training;
    training.microbatches = training.replicas = 2;
    training.gradient_bytes_per_weight_byte = 1;
    training.reduction_stream = stream;
    auto graph =
        ComputationGraph::create("two copies", std::move(operators), std::move(tensors), {{"w", Bytes(100)}}, training);
    ClusterParts parts = uniform_cluster(2, streams, std::nullopt, Duration(1), 10'000'000'000).parts();
    parts.devices[0].name = "d0";
    parts.devices[1].name = "d1";
    parts.contention = contention;
    return Problem::create(std::move(graph), Cluster::create(std::move(parts)));
  }
};

Problem two_way(const std::string& stream, std::uint32_t replicas = 2) {
  PipelineSpec spec;
  spec.shape = replicas == 2 ? PipelineShape::kTwoWay : PipelineShape::kV;
  const std::uint32_t stages = replicas == 2 ? 4 : 8;
  for (std::uint32_t i = 0; i < stages; ++i) {
    Layer layer;
    layer.name = "layer" + std::to_string(i);
    layer.operators = {{"op", "op", {"compute"}, Duration(10), Duration(10), Duration(10)}};
    layer.weights = Bytes(100);
    layer.activation = Bytes(10);
    spec.layers.push_back(std::move(layer));
  }
  for (int d = 0; d < 4; ++d) spec.devices.push_back("gpu" + std::to_string(d));
  spec.training.microbatches = 8;
  spec.training.replicas = replicas;
  spec.training.gradient_bytes_per_weight_byte = 1;
  spec.training.reduction_stream = stream;
  return Problem::create(build_pipeline(spec),
                         uniform_cluster(4, {"compute", "comm"}, Bytes(2000), Duration(0), 20'000'000'000));
}

TEST(Reductions, they_follow_the_last_gradients_and_come_before_the_optimizer) {
  const Problem problem = TwoCopies().problem();
  // F and B of one microbatch, 2 + 3; the ring of two, 2 x 1 + 2 x 100 / (2 x 10); O.
  const auto derived = ProblemWithMovements::create(problem, MemoryChoice(problem.value_count(), MemoryMode::kKeep));
  const auto answer = testing::brute_force(derived.problem());
  ASSERT_TRUE(answer.finished && answer.best);
  EXPECT_EQ(answer.best->makespan(derived.problem()), Duration(5 + 12 + 4));
  const PlanResult result = plan_with_memory_modes(problem, Budget({}, 500));
  ASSERT_TRUE(result.plan) << result.detail;
  EXPECT_EQ(result.plan->statistics.makespan, Duration(21));
  EXPECT_EQ(first_violation(check(problem.graph(), problem.cluster(), *result.plan)), "");
  // On the stream of the compute they wait for it, which changes nothing here.
  TwoCopies beside;
  beside.stream = "compute";
  const Problem same = beside.problem();
  const PlanResult again = plan_with_memory_modes(same, Budget({}, 500));
  ASSERT_TRUE(again.plan);
  EXPECT_EQ(again.plan->statistics.makespan, Duration(21));
  EXPECT_EQ(first_violation(check(same.graph(), same.cluster(), *again.plan)), "");
}

TEST(Reductions, plans_with_them_are_read_as_they_were_written) {
  const Problem problem = two_way("comm");
  const PlanResult result = plan_with_memory_modes(problem, Budget({}, 1000));
  ASSERT_TRUE(result.plan) << result.detail;
  EXPECT_EQ(result.plan->movements.size(), 4U);
  EXPECT_EQ(first_violation(check(problem.graph(), problem.cluster(), *result.plan)), "");
  const std::string text = plan_to_json(*result.plan, problem.graph(), problem.cluster());
  const Plan again = parse_plan(text, "p", problem.graph(), problem.cluster());
  EXPECT_EQ(plan_to_json(again, problem.graph(), problem.cluster()), text);
  EXPECT_EQ(plan_to_json(*plan_with_memory_modes(problem, Budget({}, 1000)).plan, problem.graph(), problem.cluster()),
            text);
  const OrdinaryPlan ordinary = with_movements(problem, again);
  EXPECT_EQ(ordinary.plan.statistics.makespan, result.plan->statistics.makespan);
  EXPECT_THROW((void)to_schedule(problem, again), InputError);
}

TEST(Reductions, check_finds_those_that_are_missing_early_short_elsewhere_or_twice) {
  const Problem problem = two_way("comm");
  const PlanResult result = plan_with_memory_modes(problem, Budget({}, 500));
  ASSERT_TRUE(result.plan);
  const std::function<void(Plan&)> spoil[] = {
      [](Plan& plan) { plan.movements.pop_back(); },
      [](Plan& plan) { plan.movements.push_back(plan.movements.front()); },
      [](Plan& plan) { plan.movements.front().end -= Duration(1); },
      [](Plan& plan) { plan.movements.front().devices.pop_back(); },
      [](Plan& plan) {
        PlannedMovement& first = plan.movements.front();
        first.end -= first.start;
        first.start = Duration(0);
      },
      [](Plan& plan) { plan.settings.training.reduction_stream.clear(); },
  };
  for (std::size_t i = 0; i < std::size(spoil); ++i) {
    Plan plan = *result.plan;
    spoil[i](plan);
    const auto violations = check(problem.graph(), problem.cluster(), plan);
    EXPECT_TRUE(std::ranges::any_of(violations, [](const Violation& v) { return v.rule == Rule::kReduction; }))
        << "corruption " << i << ": " << first_violation(violations);
  }
  Plan plan = *result.plan;  // two at once on one stream
  PlannedMovement& last = plan.movements.back();
  const auto other = std::ranges::find_if(plan.movements, [&](const PlannedMovement& movement) {
    return &movement != &last && movement.devices == last.devices;
  });
  ASSERT_NE(other, plan.movements.end());
  other->end = last.start + (other->end - other->start);
  other->start = last.start;
  const auto violations = check(problem.graph(), problem.cluster(), plan);
  EXPECT_TRUE(std::ranges::any_of(violations, [](const Violation& v) { return v.rule == Rule::kStream; }));
}

TEST(Reductions, published_schedules_carry_them_over) {
  const Problem problem = two_way("comm");
  const Problem free = without_reductions(problem);
  const MemoryChoice keep(problem.value_count(), MemoryMode::kKeep);
  const auto from = ProblemWithMovements::create(free, keep);
  const auto to = ProblemWithMovements::create(problem, keep);
  const auto experts = expert_plans(free);
  ASSERT_FALSE(experts.empty());
  for (const ExpertPlan& expert : experts) {
    const auto schedule = carry(from, expert.schedule, to);
    ASSERT_TRUE(schedule) << expert.name;
    EXPECT_EQ(first_violation(check(problem.graph(), problem.cluster(), to.plan(*schedule, {}, {}))), "")
        << expert.name;
  }
}

TEST(Reductions, they_may_stand_beside_memory_modes) {
  const Problem given = two_way("comm");
  ProblemSettings settings = given.settings();
  settings.memory_modes = {true, false};
  const Problem problem = Problem::create(given.graph(), given.cluster(), settings);
  MemoryChoice choice(problem.value_count(), MemoryMode::kKeep);
  for (std::size_t v = 0; v < choice.size(); ++v) {
    if (problem.producer(ValueId(v)) && problem.size(ValueId(v)) == Bytes(10)) choice[v] = MemoryMode::kDrop;
  }
  const auto derived = ProblemWithMovements::create(problem, choice);
  const PlanResult result = plan(derived.problem(), Budget({}, 200));
  ASSERT_TRUE(result.plan);
  const Plan all = derived.plan(to_schedule(derived.problem(), *result.plan), {}, {});
  EXPECT_EQ(first_violation(check(problem.graph(), problem.cluster(), all)), "");
  EXPECT_GT(all.statistics.recomputed, Duration());
}

TEST(Reductions, one_copy_has_none) {
  const Problem with_key = two_way("comm", 1);
  const Problem without = two_way("", 1);
  EXPECT_FALSE(has_movements(with_key));
  const PlanResult a = plan(with_key, Budget({}, 200));
  const PlanResult b = plan(without, Budget({}, 200));
  ASSERT_TRUE(a.plan && b.plan);
  EXPECT_EQ(a.plan->statistics.makespan, b.plan->statistics.makespan);
  EXPECT_EQ(first_violation(check(with_key.graph(), with_key.cluster(), *a.plan)), "");
}

TEST(Reductions, what_is_not_planned_is_refused_by_name) {
  EXPECT_THROW((void)plan(two_way("comm"), Budget({}, 10)), InputError);
  TwoCopies open;
  open.devices = {};
  EXPECT_THROW((void)plan_with_memory_modes(open.problem(), Budget({}, 10)), InputError);
  TwoCopies lacking;
  lacking.streams = {"compute"};
  EXPECT_THROW((void)plan_with_memory_modes(lacking.problem(), Budget({}, 10)), InputError);
  TwoCopies contending;
  contending.contention = Contention::kEndpoint;
  EXPECT_THROW((void)plan_with_memory_modes(contending.problem(), Budget({}, 10)), InputError);
  Training weightless;
  weightless.reduction_stream = "comm";
  EXPECT_THROW(validate(weightless), InputError);
}

}  // namespace
}  // namespace opweave
