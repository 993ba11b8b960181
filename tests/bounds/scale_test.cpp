// The bounds stay near linear.
#include <gtest/gtest.h>

#include <chrono>
#include <iostream>

#include "opweave/bounds.h"
#include "support/data_dir.h"
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
      const auto from = static_cast<std::size_t>(dice.roll(std::max<std::int64_t>(0, static_cast<std::int64_t>(i) - 400), static_cast<std::int64_t>(i) - 1));
      if (op.inputs.empty() || op.inputs[0] != TensorId(from)) op.inputs.emplace_back(from);
    }
    if (pinned) op.devices = {{"gpu" + std::to_string(dice.roll(0, devices - 1))}};
  }
  return Problem::create(ComputationGraph::create("layered", std::move(operators), std::move(tensors), {}),
                         uniform_cluster(devices, {"compute"}, memory, Duration(500), 100'000'000'000));
}
void report(const char* name, const Problem& p) {
    auto t0 = std::chrono::steady_clock::now();
    auto bounds = lower_bounds(p);
    std::cout << name << " tasks " << p.task_count() << " in " << std::chrono::duration<double>(std::chrono::steady_clock::now() - t0).count() << " s\n";
    for (auto& b : bounds) std::cout << "   " << b.name << " " << b.value.value() / 1e6 << " " << b.detail << "\n";
}
TEST(Scale, tmp) {
  const auto dir = testing::data_dir();
  if (std::getenv("MEGA")) { report("mega pinned", layered_graph(1000000, 1024, true, Bytes(50000)));   report("mega free", layered_graph(1000000, 1024, false, Bytes(50000))); return; }
  report("pinned", layered_graph(100000, 64, true, Bytes(50000)));
  if (!std::getenv("ONE")) report("free", layered_graph(100000, 64, false, Bytes(50000)));
  if (std::getenv("ONE")) return;
  report("pinned 8", layered_graph(100000, 8, true, Bytes(500000)));
  report("V64", testing::layer_pipeline(*dir / "models/deepseek_v3_layer.json", PipelineShape::kV, 64, 40, 60));
  report("two-way 8 m200", testing::layer_pipeline(*dir / "models/deepseek_v3_layer.json", PipelineShape::kTwoWay, 8, 400, 9));
  report("free 64", testing::layer_pipeline(*dir / "models/deepseek_v3_layer.json", PipelineShape::kFree, 64, 40, 60));
}
}
}
