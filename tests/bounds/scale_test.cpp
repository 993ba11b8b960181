// The bounds stay near linear.
#include <gtest/gtest.h>

#include <ctime>
#include <iostream>

#include "opweave/bounds.h"
#include "support/pipelines.h"
#include "support/random_problems.h"

namespace opweave {
namespace {

/// A layered graph of `count` operators with two inputs each, on any of `devices` devices.
Problem layered_graph(std::size_t count, std::uint32_t devices, bool pinned, Bytes memory) {
  testing::Dice dice(7);
  std::vector<Operator> operators(count);
  std::vector<Tensor> tensors(count);
  for (std::size_t i = 0; i < count; ++i) {
    Operator& op = operators[i];
    op.name = "o" + std::to_string(i);
    op.durations = {{"", Duration(dice.roll(1'000, 20'000))}};
    op.outputs = {TensorId(i)};
    tensors[i] = {"t" + std::to_string(i), Bytes(dice.roll(1, 1000)), {}, {}};
    for (int k = 0; k < 2 && i > 0; ++k) {
      const auto from = static_cast<std::size_t>(
          dice.roll(std::max<std::int64_t>(0, static_cast<std::int64_t>(i) - 400), static_cast<std::int64_t>(i) - 1));
      if (op.inputs.empty() || op.inputs[0] != TensorId(from)) op.inputs.emplace_back(from);
    }
    if (pinned) op.devices = {{"gpu" + std::to_string(dice.roll(0, devices - 1))}};
  }
  return Problem::create(ComputationGraph::create("layered", std::move(operators), std::move(tensors), {}),
                         uniform_cluster(devices, {"compute"}, memory, Duration(500), 100'000'000'000));
}
/// Processor seconds that the bounds take; the machine may be busy with other things.
double seconds(const Problem& problem) {
  const std::clock_t start = std::clock();
  const auto bounds = lower_bounds(problem);
  const double result = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  std::cout << problem.task_count() << " tasks: " << bounds.front().name << " "
            << static_cast<double>(bounds.front().value.value()) / 1e6 << " ms in " << result << " s\n";
  return result;
}

// Sanitizers slow everything down by an order of magnitude.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::size_t kTasks = 5'000;
#else
constexpr std::size_t kTasks = 50'000;
#endif
constexpr double kEnough = 10;  // seconds; about 1 is usual

TEST(BoundsAtScale, a_fixed_placement_with_little_memory) {
  EXPECT_LT(seconds(layered_graph(kTasks, 64, true, Bytes(50'000))), kEnough);
}

TEST(BoundsAtScale, a_free_placement_with_little_memory) {
  EXPECT_LT(seconds(layered_graph(kTasks, 64, false, Bytes(50'000))), kEnough);
}

TEST(BoundsAtScale, a_long_pipeline) {
  testing::StagePipeline pipeline{PipelineShape::kV, 64, static_cast<std::uint32_t>(kTasks / 384), 1, 1.2, .8, .1, {}};
  pipeline.activations.assign(64, 32);
  EXPECT_LT(seconds(testing::stage_pipeline(pipeline)), kEnough);
}

TEST(BoundsAtScale, many_microbatches) {
  testing::StagePipeline pipeline{
      PipelineShape::kTwoWay, 8, static_cast<std::uint32_t>(kTasks / 24), 1, 1.2, .8, .1, {}};
  pipeline.activations.assign(8, 9);
  EXPECT_LT(seconds(testing::stage_pipeline(pipeline)), kEnough);
}

}  // namespace
}  // namespace opweave
