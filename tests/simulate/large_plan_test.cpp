#include <gtest/gtest.h>

#include <cstdio>
#include <ctime>

#include "opweave/check.h"
#include "opweave/simulate.h"

namespace opweave {
namespace {

/// A two-stream pipeline: `layers` layers of compute, comm, compute on `devices` devices in order, forward and
/// backward with weights and kept activations, `microbatches` times: 6 x layers x microbatches tasks and a step.
Problem large_problem(std::size_t devices, std::size_t layers, std::uint32_t microbatches, Contention contention) {
  ClusterParts parts;
  for (std::size_t d = 0; d < devices; ++d)
    parts.devices.push_back({"d" + std::to_string(d), "", {}, {"compute", "comm"}});
  parts.switches = {"hub"};
  for (std::size_t d = 0; d < devices; ++d) {
    parts.links.push_back(
        {"up" + std::to_string(d), "d" + std::to_string(d), "hub", Duration(50), 1'000'000'000, true});
  }
  parts.contention = contention;
  std::vector<Operator> operators;
  std::vector<Tensor> tensors;
  std::vector<Parameter> parameters;
  const auto tensor = [&](std::int64_t size) {
    tensors.push_back({"t" + std::to_string(tensors.size()), Bytes(size), {}, {}});
    return TensorId(tensors.size() - 1);
  };
  TensorId flow = tensor(100);
  std::vector<TensorId> kept;
  const auto add = [&](Phase phase, std::size_t layer, std::size_t part, std::vector<TensorId> inputs) {
    Operator op;
    op.name = std::string(to_string(phase)) + std::to_string(layer) + "." + std::to_string(part);
    op.phase = phase;
    op.streams = {part == 1 ? "comm" : "compute"};
    op.durations = {{"", Duration(static_cast<std::int64_t>(100 + (7 * layer + 13 * part) % 50))}};
    op.devices = {{"d" + std::to_string(layer * devices / layers)}};
    op.inputs = std::move(inputs);
    op.inputs.push_back(flow);
    op.outputs = {flow = tensor(100)};
    if (part != 1) op.parameters = {ParameterId(layer)};
    if (phase == Phase::kForward) {
      op.outputs.push_back(tensor(1000));
      kept.push_back(op.outputs.back());
    }
    operators.push_back(std::move(op));
  };
  for (std::size_t layer = 0; layer < layers; ++layer) {
    parameters.push_back({"w" + std::to_string(layer), Bytes(10'000)});
    for (std::size_t part = 0; part < 3; ++part) add(Phase::kForward, layer, part, {});
  }
  for (std::size_t layer = layers; layer-- > 0;) {
    for (std::size_t part = 3; part-- > 0;) add(Phase::kBackward, layer, part, {kept[3 * layer + part]});
  }
  for (std::size_t layer = 0; layer < layers; ++layer) {
    Operator step;
    step.name = "step" + std::to_string(layer);
    step.phase = Phase::kOptimizer;
    step.durations = {{"", Duration(10)}};
    step.parameters = {ParameterId(layer)};
    step.devices = {{"d" + std::to_string(layer * devices / layers)}};
    operators.push_back(std::move(step));
  }
  return Problem::create(ComputationGraph::create("large", std::move(operators), std::move(tensors),
                                                  std::move(parameters), {.microbatches = microbatches}),
                         Cluster::create(std::move(parts)));
}

double cpu_seconds(std::clock_t since) { return static_cast<double>(std::clock() - since) / CLOCKS_PER_SEC; }

// 100,000 tasks take well under a second each; the limit only tells n log n from n^2, on slow machines too.
TEST(LargePlan, a_hundred_thousand_tasks_are_simulated_and_checked_without_anything_quadratic) {
  constexpr double kLimit = 20;
  for (const Contention contention : {Contention::kNone, Contention::kEndpoint, Contention::kLink}) {
    const Problem problem = large_problem(64, 256, 65, contention);
    ExecutionOrder order;
    order.modes.resize(problem.task_count());
    order.devices.resize(64);
    for (std::size_t t = 0; t < problem.task_count(); ++t) {
      const Mode mode = problem.mode(TaskId(t), 0);
      order.devices[mode.devices.front().index()].push_back({{TaskId(t)}, {Duration()}, mode.duration, false});
    }
    std::clock_t since = std::clock();
    const SimulationResult result = simulate(problem, order, {contention, 1, {}});
    const double simulating = cpu_seconds(since);
    ASSERT_TRUE(result.deadlocked.empty());

    since = std::clock();
    const SimulationResult slowed = simulate(problem, order, {contention, 1.13, {}});
    const double slowing = cpu_seconds(since);
    EXPECT_GE(slowed.makespan, result.makespan);

    const Plan plan = make_plan(problem, result.schedule, {}, {});
    since = std::clock();
    const auto violations = check(problem.graph(), problem.cluster(), plan);
    const double checking = cpu_seconds(since);
    EXPECT_TRUE(violations.empty()) << violations.front().message;
    std::printf("contention %-8s %zu tasks, %zu transfers: simulate %.3f s, with slowdown %.3f s, check %.3f s\n",
                std::string(to_string(contention)).c_str(), problem.task_count(), result.schedule.transfers.size(),
                simulating, slowing, checking);
    EXPECT_LT(simulating + slowing + checking, kLimit);
  }
}

}  // namespace
}  // namespace opweave
