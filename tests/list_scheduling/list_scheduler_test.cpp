#include "list_scheduling/list_scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "list_scheduling/in_flight_limit.h"
#include "list_scheduling/memory_guard.h"
#include "list_scheduling/placed_problem.h"
#include "list_scheduling/priority_rules.h"
#include "list_scheduling/reference_order.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/pipeline.h"
#include "opweave/plan.h"
#include "placement/placement.h"
#include "support/random_problems.h"
#include "support/tiny_diamond.h"
#include "support/violation.h"

namespace opweave {
namespace {

constexpr Bytes kPlenty{1'000'000'000'000};

std::optional<Problem> feasible_input(const testing::RandomProblem& input) {
  try {
    return input.problem();
  } catch (const InputError&) {
    return std::nullopt;  // shared parameters without a common device
  }
}

TEST(ListScheduler, completes_validly_wherever_the_reference_order_fits) {
  testing::RandomShape shape;
  shape.most_tasks = 40;
  std::size_t schedules = 0;
  std::size_t limited = 0;
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    const std::optional<Problem> problem = feasible_input(testing::random_problem(seed, shape));
    if (!problem) continue;
    for (const PlacementGuess& guess : guess_placements(*problem)) {
      const auto placed = PlacedProblem::create(*problem, guess.modes);
      if (!placed) continue;
      const ReferenceOrder reference = reference_order(*placed);
      if (!reference.fits) continue;
      for (const PriorityRule& rule : priority_rules(*placed, reference)) {
        const Schedule schedule = placed->schedule(list_schedule(*placed, reference, rule.priority));
        ASSERT_EQ(testing::violation(*problem, schedule), "")
            << "seed " << seed << ", " << guess.method << ", " << rule.name;
        ++schedules;
        for (std::size_t d = 0; d < problem->cluster().device_count(); ++d) {
          limited += problem->capacity(DeviceId(d)).has_value() ? 1U : 0U;
        }
      }
    }
  }
  // The sample is worth something: many schedules, many of them under a memory limit.
  EXPECT_GT(schedules, 500U);
  EXPECT_GT(limited, 200U);
}

Problem pipeline(PipelineShape shape, std::uint32_t stages, std::int64_t activations_of_stage, std::uint32_t replicas) {
  PipelineSpec spec;
  spec.name = "pipeline";
  spec.shape = shape;
  for (std::uint32_t s = 0; s < stages; ++s) {
    Layer layer;
    layer.name = "stage" + std::to_string(s);
    layer.operators = {{"stage", "stage", {"compute"}, Duration(10), Duration(12), Duration(8)}};
    layer.activation = Bytes(100);
    spec.layers.push_back(layer);
  }
  for (std::uint32_t d = 0; d < 4; ++d) spec.devices.push_back("gpu" + std::to_string(d));
  spec.training.microbatches = 12;
  spec.training.replicas = replicas;
  return Problem::create(build_pipeline(spec),
                         uniform_cluster(4, {"compute"}, Bytes(100 * activations_of_stage), Duration(1)));
}

/// The starts on devices with so much memory each, by the first rule.
std::vector<std::int64_t> starts_with(const Problem& problem, const std::vector<ModeIndex>& modes, Bytes memory) {
  ProblemSettings settings = problem.settings();
  settings.memory_limit = memory;
  const Problem limited = Problem::create(problem.graph(), problem.cluster(), settings);
  const auto placed = PlacedProblem::create(limited, modes);
  const ReferenceOrder reference = reference_order(*placed);
  EXPECT_TRUE(reference.fits);
  EXPECT_EQ(MemoryGuard::has_room_for_all(*placed), memory == kPlenty);
  return list_schedule(*placed, reference, priority_rules(*placed, reference).front().priority);
}

// With plenty nothing is guarded, with a byte less than all values take together everything is: of two chains of 20
// values of 10 bytes four are there at once at most, so a guard has nothing to refuse.
TEST(ListScheduler, makes_the_same_schedule_without_a_guard_as_with_one_that_admits_all) {
  std::vector<Operator> operators(40);
  std::vector<Tensor> tensors(40);
  for (std::size_t i = 0; i < operators.size(); ++i) {
    operators[i].name = "op" + std::to_string(i);
    operators[i].durations = {{"", Duration(static_cast<std::int64_t>(1 + i * 7 % 5))}};
    operators[i].outputs = {TensorId(i)};
    if (i >= 2) operators[i].inputs = {TensorId(i - 2)};
    tensors[i] = {"t" + std::to_string(i), Bytes(10), {}, {}, {}};
  }
  const Problem problem =
      Problem::create(ComputationGraph::create("two chains", std::move(operators), std::move(tensors), {}),
                      uniform_cluster(1, {"compute"}, std::nullopt, Duration(1)));
  const std::vector<ModeIndex> modes(problem.task_count(), 0);
  EXPECT_EQ(starts_with(problem, modes, Bytes(399)), starts_with(problem, modes, kPlenty));
}

// One microbatch at a time needs as many stage activations as stages lie on one device; every limit from
// there on must work, under every rule and limit: this is where plain greedy dispatch deadlocks.
TEST(ListScheduler, finds_a_schedule_at_every_memory_limit_that_fits_one_microbatch) {
  struct Shape {
    PipelineShape shape;
    std::uint32_t stages;
    std::int64_t least;
    std::uint32_t replicas;
  };
  for (const Shape& s : {Shape{PipelineShape::kLinear, 4, 1, 1}, Shape{PipelineShape::kV, 8, 2, 1},
                         Shape{PipelineShape::kLoop, 8, 2, 1}, Shape{PipelineShape::kTwoWay, 4, 1, 2}}) {
    for (std::int64_t limit = s.least; limit <= 6; ++limit) {
      const Problem problem = pipeline(s.shape, s.stages, limit, s.replicas);
      for (const PlacementGuess& guess : guess_placements(problem)) {
        for (const std::uint32_t limit : {1U, 3U, 12U}) {
          const auto placed = PlacedProblem::create(problem, guess.modes, in_flight_edges(problem, {limit, 0.7}));
          const ReferenceOrder reference = reference_order(*placed);
          ASSERT_TRUE(reference.fits);
          for (const PriorityRule& rule : priority_rules(*placed, reference)) {
            const Schedule schedule = placed->schedule(list_schedule(*placed, reference, rule.priority));
            ASSERT_EQ(testing::violation(problem, schedule), "")
                << to_string(s.shape) << " limit " << limit << " " << rule.name << " window " << limit;
          }
        }
      }
    }
    const Problem too_small = pipeline(s.shape, s.stages, s.least - 1, s.replicas);
    const auto placed = PlacedProblem::create(too_small, guess_placements(too_small).front().modes);
    EXPECT_FALSE(reference_order(*placed).fits);
  }
}

// top 10, then right 30 (the longer branch) and left 20 on one device, bottom 5: 65 without a wait.
TEST(ListScheduler, runs_the_longest_branch_first) {
  const Problem problem = Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster());
  const auto placed = PlacedProblem::create(problem, {0, 0, 0, 0});
  const ReferenceOrder reference = reference_order(*placed);
  const auto rules = priority_rules(*placed, reference);
  ASSERT_EQ(rules.front().name, "longest tail");
  const Schedule schedule = placed->schedule(list_schedule(*placed, reference, rules.front().priority));
  EXPECT_EQ(schedule.makespan(problem), Duration(65));
  EXPECT_EQ(schedule.tasks[2].start, Duration(10));
  EXPECT_EQ(schedule.tasks[1].start, Duration(40));
}

TEST(InFlightLimit, keeps_a_microbatch_back_until_the_gate_of_an_earlier_one) {
  const Problem problem = pipeline(PipelineShape::kLinear, 4, 4, 1);
  // Without W the critical path is 4 F and 4 I; at 100 % the gate is the last I, that of stage 0.
  const auto edges = in_flight_edges(problem, {3, 1.0});
  ASSERT_EQ(edges.size(), 9U);  // microbatches 3 to 11
  EXPECT_EQ(problem.task_name(TaskId(edges[0].earlier)), "stage0.stage.I#0");
  EXPECT_EQ(problem.task_name(TaskId(edges[0].later)), "stage0.stage.F#3");
}

}  // namespace
}  // namespace opweave
