#include "opweave/pareto.h"

#include <gtest/gtest.h>

#include "opweave/error.h"
#include "opweave/pipeline.h"
#include "support/tiny_diamond.h"

namespace opweave {
namespace {

/// Linear pipeline of 3 devices, a stage each, 6 microbatches of one activation of 100 bytes per stage.
Problem pipeline() {
  PipelineSpec spec;
  spec.name = "three";
  for (std::uint32_t s = 0; s < 3; ++s) {
    Layer layer;
    layer.name = "layer" + std::to_string(s);
    layer.operators = {{"mlp", "mlp", {"compute"}, Duration(1000), Duration(1200), Duration(800)}};
    layer.activation = Bytes(100);
    spec.layers.push_back(layer);
  }
  for (std::uint32_t d = 0; d < 3; ++d) spec.devices.push_back("gpu" + std::to_string(d));
  spec.training.microbatches = 6;
  return Problem::create(build_pipeline(spec), uniform_cluster(3, {"compute"}, std::nullopt, Duration(10)));
}

TEST(Pareto, curve_falls_with_memory_and_its_bounds_are_below_it) {
  const Problem problem = pipeline();
  const auto points = pareto_curve(problem, 4, Budget(std::nullopt, 300), {}).points;
  ASSERT_GE(points.size(), 3U);
  // One microbatch at a time needs one activation on each device.
  EXPECT_EQ(points.front().memory_limit, Bytes(100));
  for (std::size_t i = 0; i < points.size(); ++i) {
    ASSERT_TRUE(points[i].makespan.has_value());
    EXPECT_LE(points[i].peak_memory, points[i].memory_limit);
    EXPECT_LE(points[i].bound, *points[i].makespan);
    if (i == 0) continue;
    EXPECT_LT(points[i - 1].memory_limit, points[i].memory_limit);
    EXPECT_GE(*points[i - 1].makespan, *points[i].makespan);
    EXPECT_GE(points[i - 1].bound, points[i].bound);
  }
  EXPECT_GT(*points.front().makespan, *points.back().makespan);
}

TEST(Pareto, of_a_problem_where_memory_changes_nothing_has_one_point) {
  // The shortest plan of the diamond needs no more than the least memory, 300 bytes.
  const Problem problem = Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster());
  const auto points = pareto_curve(problem, 5, Budget(std::nullopt, 500), {}).points;
  ASSERT_FALSE(points.empty());
  EXPECT_EQ(points.front().memory_limit, Bytes(300));
  EXPECT_EQ(*points.front().makespan, Duration(45));
}

TEST(Pareto, limit_replaces_the_capacity_of_every_device) {
  // Two operators at once, each with 40 bytes of its own; devices of 10 and 100 bytes. With 40 bytes on each device, as
  // the limit says, they run side by side in 5 ns; on the devices as they are, one after the other on the second.
  std::vector<Operator> operators(2);
  std::vector<Parameter> parameters;
  for (std::size_t i = 0; i < 2; ++i) {
    operators[i].name = "o" + std::to_string(i);
    operators[i].durations = {{"", Duration(5)}};
    operators[i].parameters = {ParameterId(i)};
    parameters.push_back({"p" + std::to_string(i), Bytes(40)});
  }
  ClusterParts parts;
  parts.devices = {{"small", "", Bytes(10), {"compute"}}, {"large", "", Bytes(100), {"compute"}}};
  const ComputationGraph graph = ComputationGraph::create("two", operators, {}, parameters);
  const Problem problem = Problem::create(graph, Cluster::create(parts));
  const auto points = pareto_curve(problem, 3, Budget(std::nullopt, 300), {}).points;
  ASSERT_FALSE(points.empty());
  EXPECT_EQ(points.front().memory_limit, Bytes(40));
  EXPECT_EQ(points.front().makespan, Duration(5));
  EXPECT_EQ(points.front().bound, Duration(5));
  // The same question asked with the setting.
  ProblemSettings settings = problem.settings();
  settings.memory_limit = Bytes(40);
  const PlanResult plan =
      opweave::plan(Problem::create(graph, Cluster::create(parts), settings), Budget(std::nullopt, 300));
  ASSERT_TRUE(plan.plan.has_value());
  EXPECT_EQ(plan.plan->statistics.makespan, Duration(5));
}

TEST(Pareto, needs_two_points) { EXPECT_THROW((void)pareto_curve(pipeline(), 1, Budget(), {}), InputError); }

}  // namespace
}  // namespace opweave
