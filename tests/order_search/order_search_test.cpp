#include "order_search/order_search.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <random>

#include "list_scheduling/list_scheduler.h"
#include "list_scheduling/placed_problem.h"
#include "list_scheduling/priority_rules.h"
#include "list_scheduling/reference_order.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/pipeline.h"
#include "opweave/plan.h"
#include "support/violation.h"

namespace opweave {
namespace {

/// Schedules of one placement: everything one after the other, and by every priority rule; none if it does not fit.
std::vector<Schedule> starts(const Problem& problem, const std::vector<ModeIndex>& modes) {
  std::vector<Schedule> result;
  const auto placed = PlacedProblem::create(problem, modes);
  if (!placed) return result;
  const ReferenceOrder reference = reference_order(*placed);
  if (!reference.fits) return result;
  std::vector<std::int64_t> serial(placed->activity_count());
  std::int64_t time = 0;
  for (const ActivityId activity : reference.activities) {
    serial[activity] = time;
    time += placed->duration(activity);
  }
  result.push_back(placed->schedule(serial));
  for (const PriorityRule& rule : priority_rules(*placed, reference)) {
    result.push_back(placed->schedule(list_schedule(*placed, reference, rule.priority)));
  }
  std::erase_if(result, [&](const Schedule& schedule) { return !testing::violation(problem, schedule).empty(); });
  return result;
}

/// A random graph on 2 to 4 devices with several streams, gangs, workspaces, tensors of all sizes down to none,
/// operators of no duration, inputs of the graph, and any contention.
struct RandomInput {
  ComputationGraph graph;
  Cluster cluster;
  ProblemSettings settings;
};

RandomInput random_input(std::uint64_t seed) {
  std::mt19937_64 engine(seed);
  const auto below = [&](std::uint64_t n) { return static_cast<std::int64_t>(engine() % n); };
  const auto device_count = static_cast<std::size_t>(2 + below(3));
  ClusterParts parts;
  parts.name = "random";
  for (std::size_t d = 0; d < device_count; ++d) {
    parts.devices.push_back({"d" + std::to_string(d), "", std::nullopt, {"compute", "comm"}});
  }
  if (below(2) == 0) {
    parts.default_link = Link{"", "", "", Duration(below(4)), 1'000'000'000, true};
  } else {
    for (std::size_t d = 0; d < device_count; ++d) {
      parts.links.push_back({"l" + std::to_string(d), "d" + std::to_string(d),
                             "d" + std::to_string((d + 1) % device_count), Duration(below(4)), 1'000'000'000,
                             below(2) == 0});
      if (device_count == 2) break;
    }
  }
  const Contention contentions[] = {Contention::kNone, Contention::kEndpoint, Contention::kLink};
  parts.contention = contentions[below(3)];

  const auto count = static_cast<std::size_t>(4 + below(20));
  std::vector<Operator> operators(count);
  std::vector<Tensor> tensors;
  std::vector<TensorId> inputs;
  if (below(3) == 0) {
    tensors.push_back({"input", Bytes(below(10)), {}, {}});
    inputs.emplace_back(0);
  }
  const bool is_training = below(2) == 0;
  for (std::size_t i = 0; i < count; ++i) {
    Operator& op = operators[i];
    op.name = "op" + std::to_string(i);
    const std::int64_t streams = below(6);
    if (streams == 0) op.streams = {"comm"};
    if (streams == 1) op.streams = {"compute", "comm"};
    const std::int64_t duration = below(8) == 0 ? 0 : 1 + below(20);
    const std::string home = "d" + std::to_string(below(device_count));
    if (below(6) == 0) {
      const std::string other = "d" + std::to_string(below(device_count));
      ModeSpec mode{{home}, Duration(duration), Bytes(below(5))};
      if (other != home) mode.devices.push_back(other);
      std::sort(mode.devices.begin(), mode.devices.end());
      op.modes = {mode};
    } else {
      op.durations = {{"", Duration(duration)}};
      op.workspace = Bytes(below(3) == 0 ? below(8) : 0);
      op.devices = {{home}};
    }
    if (is_training) {
      const Phase phases[] = {Phase::kForward, Phase::kInputGradient, Phase::kWeightGradient};
      op.phase = phases[i * 3 / count];
    }
    const std::size_t most = std::min<std::size_t>(tensors.size(), 3);
    for (std::size_t k = 0; k < most; ++k) {
      const TensorId tensor(static_cast<std::size_t>(below(tensors.size())));
      const bool is_new = std::find(op.inputs.begin(), op.inputs.end(), tensor) == op.inputs.end();
      if (is_new && below(3) != 0) op.inputs.push_back(tensor);
    }
    if (i > 0 && below(5) == 0) op.after = {OperatorId(static_cast<std::size_t>(below(i)))};
    for (std::int64_t k = below(3); k > 0; --k) {
      op.outputs.emplace_back(tensors.size());
      tensors.push_back({"t" + std::to_string(tensors.size()), Bytes(below(4) == 0 ? 0 : below(12)), {}, {}});
    }
  }
  Training training;
  training.microbatches = static_cast<std::uint32_t>(1 + below(4));
  ComputationGraph graph = ComputationGraph::create("random", std::move(operators), std::move(tensors), {}, training);
  Cluster cluster = Cluster::create(std::move(parts));
  ProblemSettings settings = default_settings(graph, cluster);
  if (below(4) != 0) settings.memory_limit = Bytes(20 + below(60));
  return {std::move(graph), std::move(cluster), settings};
}

TEST(OrderSearch, keeps_every_rule_and_is_never_worse_on_random_problems) {
  std::size_t searches = 0;
  std::size_t limited = 0;
  std::size_t improved = 0;
  for (std::uint64_t seed = 1; seed <= 600; ++seed) {
    RandomInput input = random_input(seed);
    const bool is_limited = input.settings.memory_limit.has_value();
    const Problem problem = Problem::create(std::move(input.graph), std::move(input.cluster), input.settings);
    std::vector<ModeIndex> modes(problem.task_count(), 0);
    for (const Schedule& start : starts(problem, modes)) {
      Duration last = start.makespan(problem);
      const auto on_improvement = [&](const Schedule& better) {
        ASSERT_EQ(testing::violation(problem, better), "") << "seed " << seed;
        ASSERT_LT(better.makespan(problem), last);
        last = better.makespan(problem);
      };
      const Schedule result = improve_order(problem, start, Budget(), {seed, 300}, on_improvement);
      ASSERT_EQ(testing::violation(problem, result), "") << "seed " << seed;
      ASSERT_EQ(result.makespan(problem), last);
      for (std::size_t t = 0; t < problem.task_count(); ++t) ASSERT_EQ(result.tasks[t].mode, start.tasks[t].mode);
      ++searches;
      limited += is_limited ? 1U : 0U;
      improved += last < start.makespan(problem) ? 1U : 0U;
    }
  }
  // The sample is worth something.
  EXPECT_GT(searches, 500U);
  EXPECT_GT(limited, 200U);
  EXPECT_GT(improved, 200U);
}

/// A pipeline of one operator per layer with times in tenths of a unit; V has two half stages per device.
Problem pipeline(PipelineShape shape, std::uint32_t devices, std::uint32_t microbatches, std::int64_t limit,
                 std::int64_t forward, std::int64_t input_gradient, std::int64_t weight_gradient,
                 std::int64_t hop = 0) {
  PipelineSpec spec;
  spec.name = "pipeline";
  spec.shape = shape;
  const std::uint32_t chunks = shape == PipelineShape::kV ? 2 : 1;
  for (std::uint32_t s = 0; s < devices * chunks; ++s) {
    Layer layer;
    layer.name = "stage" + std::to_string(s);
    layer.operators = {{"stage",
                        "stage",
                        {"compute"},
                        Duration(forward / chunks),
                        Duration(input_gradient / chunks),
                        Duration(weight_gradient / chunks)}};
    layer.activation = Bytes(100 / chunks);
    spec.layers.push_back(layer);
  }
  for (std::uint32_t d = 0; d < devices; ++d) spec.devices.push_back("gpu" + std::to_string(d));
  spec.training.microbatches = microbatches;
  spec.training.replicas = shape == PipelineShape::kTwoWay ? 2 : 1;
  return Problem::create(build_pipeline(spec),
                         uniform_cluster(devices, {"compute"}, Bytes(100 * limit), Duration(hop)));
}

Schedule best_start(const Problem& problem) {
  std::vector<Schedule> all = starts(problem, std::vector<ModeIndex>(problem.task_count(), 0));
  return *std::min_element(all.begin(), all.end(), [&](const Schedule& a, const Schedule& b) {
    return a.makespan(problem) < b.makespan(problem);
  });
}

// Optima of small pipelines (F, I, W = 1, 1.2, 0.8; in hundredths), proven by exhaustive search elsewhere; activations
// are held until W. K is the number of activations that fit on a device.
TEST(OrderSearch, reaches_the_optimum_of_small_pipelines) {
  struct Case {
    PipelineShape shape;
    std::uint32_t devices, microbatches;
    std::int64_t limit;
    std::int64_t optimum;
  };
  for (const Case& c : {Case{PipelineShape::kLinear, 2, 4, 2, 1340}, Case{PipelineShape::kLinear, 3, 6, 3, 2080},
                        Case{PipelineShape::kLinear, 3, 6, 2, 2600}, Case{PipelineShape::kLinear, 4, 4, 4, 1620},
                        Case{PipelineShape::kLinear, 4, 8, 4, 2820}, Case{PipelineShape::kLinear, 4, 8, 3, 3260},
                        Case{PipelineShape::kTwoWay, 4, 4, 8, 1320}, Case{PipelineShape::kTwoWay, 4, 8, 16, 2500},
                        Case{PipelineShape::kV, 4, 8, 16, 2550}}) {
    const Problem problem = pipeline(c.shape, c.devices, c.microbatches, c.limit, 100, 120, 80);
    const Schedule result = improve_order(problem, best_start(problem), Budget(), {1, 40'000}, {});
    EXPECT_EQ(testing::violation(problem, result), "");
    EXPECT_EQ(result.makespan(problem), Duration(c.optimum))
        << to_string(c.shape) << " " << c.devices << " " << c.microbatches << " " << c.limit;
  }
}

TEST(OrderSearch, gives_the_same_schedule_for_the_same_seed_and_evaluations) {
  const Problem problem = pipeline(PipelineShape::kTwoWay, 4, 8, 5, 100, 120, 80, 10);
  const Schedule start = best_start(problem);
  const auto run = [&](std::uint64_t seed) { return improve_order(problem, start, Budget(), {seed, 3000}, {}); };
  const auto starts_of = [](const Schedule& schedule) {
    std::vector<Duration> result;
    for (const TaskAssignment& task : schedule.tasks) result.push_back(task.start);
    return result;
  };
  const Schedule first = run(7);
  for (int i = 0; i < 3; ++i) {
    const Schedule again = run(7);
    EXPECT_EQ(starts_of(again), starts_of(first));
    EXPECT_EQ(again.transfers, first.transfers);
  }
  EXPECT_NE(starts_of(run(8)), starts_of(first));
}

TEST(OrderSearch, stops_at_the_deadline_and_at_the_flag) {
  const Problem problem = pipeline(PipelineShape::kV, 8, 20, 5, 100, 120, 80, 10);
  const Schedule start = best_start(problem);
  const auto seconds = [](auto work) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  const Budget short_budget(0.3, std::nullopt);
  Schedule result;
  EXPECT_LT(seconds([&] { result = improve_order(problem, start, short_budget, {1}, {}); }), 2.0);
  EXPECT_EQ(testing::violation(problem, result), "");
  EXPECT_LT(result.makespan(problem), start.makespan(problem));

  std::atomic<bool> stop = true;
  Budget stopped;
  stopped.watch(&stop);
  EXPECT_LT(seconds([&] { result = improve_order(problem, start, stopped, {1}, {}); }), 1.0);
  EXPECT_LE(result.makespan(problem), start.makespan(problem));
}

TEST(OrderSearch, returns_the_start_where_nothing_can_be_ordered) {
  Operator op;
  op.name = "only";
  op.durations = {{"", Duration(5)}};
  const ComputationGraph graph = ComputationGraph::create("one", {op}, {}, {});
  const Problem problem = Problem::create(graph, uniform_cluster(1, {"compute"}, std::nullopt, Duration(0)));
  Schedule start;
  start.tasks = {{0, Duration(0)}};
  EXPECT_EQ(improve_order(problem, start, Budget(), {1, 100}, {}).makespan(problem), Duration(5));
  const Problem empty = Problem::create(ComputationGraph::create("none", {}, {}, {}),
                                        uniform_cluster(1, {"compute"}, std::nullopt, Duration(0)));
  EXPECT_TRUE(improve_order(empty, Schedule(), Budget(), {1, 100}, {}).tasks.empty());
}

}  // namespace
}  // namespace opweave
