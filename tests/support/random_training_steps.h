/// Random training steps whose placement is open: unequal layers on devices of two speeds, for benchmarks and tests.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "opweave/pipeline.h"
#include "support/random_problems.h"

namespace opweave::testing {

struct TrainingStep {
  std::string name;
  Problem problem;
};

/// 8 .. 64 layers of unequal time, weights and activations; gradients apart (F, I, W) or as one (F, B); 4 .. 16 devices
/// of two speeds, in halves or mixed; 4 .. 32 microbatches; links with latency and bandwidth, or none; 1.2 to 2 times
/// the memory with which whole layers, the largest first, each to the emptiest device, leave room for one microbatch.
/// The same seed gives the same problem everywhere.
inline TrainingStep random_training_step(std::uint64_t seed, std::int64_t most_layers = 64,
                                         std::int64_t most_devices = 16, std::int64_t most_microbatches = 32) {
  Dice dice(seed);
  const std::int64_t layers = dice.roll(8, most_layers);
  const auto devices = static_cast<std::uint32_t>(dice.roll(4, std::min(most_devices, layers)));
  const std::int64_t slowness = dice.roll(12, 30);  // tenths
  const bool gradients_apart = dice.chance(50);
  const std::int64_t spread = dice.roll(10, 60);             // percent to either side
  const std::int64_t activation_percent = dice.roll(3, 40);  // of the weights, by one microbatch
  const bool has_links = dice.chance(70);
  PipelineSpec spec;
  spec.shape = PipelineShape::kFree;
  spec.training.microbatches = static_cast<std::uint32_t>(dice.roll(4, most_microbatches));
  std::vector<std::int64_t> bytes;
  for (std::int64_t i = 0; i < layers; ++i) {
    const auto varied = [&](std::int64_t base) { return base * dice.roll(100 - spread, 100 + spread) / 100; };
    const std::int64_t size = varied(1000);
    const auto time = [&](std::int64_t percent) {
      const std::int64_t fast = 10 * varied(size) * percent;  // about a millisecond for a forward
      return LayerTime({{"fast", Duration(fast)}, {"slow", Duration(fast * slowness / 10)}});
    };
    Layer layer;
    layer.name = fmt::format("layer{}", i);
    LayerOperator op{"layer", "layer", {"compute"}, time(100), std::nullopt, std::nullopt};
    op.input_gradient = time(gradients_apart ? 110 : 200);
    if (gradients_apart) op.weight_gradient = time(90);
    layer.operators = {std::move(op)};
    layer.weights = Bytes(varied(1'000'000));
    layer.activation = Bytes(varied(10'000) * activation_percent);
    if (has_links) layer.output = Bytes(100'000);
    bytes.push_back((layer.weights + layer.activation).value());
    spec.layers.push_back(std::move(layer));
  }
  for (std::uint32_t d = 0; d < devices; ++d) spec.devices.push_back(fmt::format("gpu{}", d));
  std::ranges::sort(bytes, std::greater<>());
  std::vector<std::int64_t> filled(devices, 0);
  for (const std::int64_t each : bytes) *std::ranges::min_element(filled) += each;
  const std::int64_t tenths = dice.roll(12, 20);
  // Beside whole layers there is what arrives from other devices and what goes to them.
  const Bytes memory(std::ranges::max(filled) * tenths / 10 + (has_links ? 1'000'000 : 0));
  const Duration latency(has_links ? dice.roll(5, 50) * 1000 : 0);
  ClusterParts cluster = uniform_cluster(devices, {"compute"}, memory, latency,
                                         has_links ? std::optional(dice.roll(2, 20) * 1'000'000'000) : std::nullopt)
                             .parts();
  cluster.types = {{"fast", {}, {}}, {"slow", {}, {}}};
  const bool in_halves = dice.chance(50);
  for (std::uint32_t d = 0; d < devices; ++d) {
    const bool is_slow = in_halves ? d >= devices / 2 : dice.chance(50);
    cluster.devices[d].type = is_slow ? "slow" : "fast";
  }
  return {fmt::format("{}: {} layers {} {} devices x{:.1f}{} {} microbatches{} memory {:.1f}", seed, layers,
                      gradients_apart ? "FIW" : "FB", devices, static_cast<double>(slowness) / 10,
                      in_halves ? " in halves" : " mixed", spec.training.microbatches, has_links ? " links" : "",
                      static_cast<double>(tenths) / 10),
          Problem::create(build_pipeline(spec), Cluster::create(std::move(cluster)))};
}

}  // namespace opweave::testing
