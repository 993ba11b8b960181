/// Random training pipelines of realistic sizes: for benchmarks and tests of robustness.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "opweave/pipeline.h"
#include "support/random_problems.h"

namespace opweave::testing {

struct TrainingPipeline {
  std::string name;
  Problem problem;
};

/// 4 .. 16 devices, 8 .. 64 microbatches, every shape; stages equal or not, in time and in memory; hop latency or not;
/// devices hold from one microbatch (the least with which there is a plan: one microbatch after the other) to twice as
/// many as devices (double of what 1F1B needs). The same seed gives the same problem everywhere.
inline TrainingPipeline random_training_pipeline(std::uint64_t seed, std::int64_t most_devices = 16,
                                                 std::int64_t most_microbatches = 64) {
  Dice dice(seed);
  constexpr PipelineShape kShapes[] = {PipelineShape::kLinear, PipelineShape::kV, PipelineShape::kLoop,
                                       PipelineShape::kTwoWay};
  PipelineSpec spec;
  spec.shape = kShapes[dice.roll(0, 3)];
  const bool two_way = spec.shape == PipelineShape::kTwoWay;
  const auto devices =
      static_cast<std::uint32_t>(two_way ? 2 * dice.roll(2, most_devices / 2) : dice.roll(4, most_devices));
  spec.training.microbatches =
      static_cast<std::uint32_t>(two_way ? 2 * dice.roll(4, most_microbatches / 2) : dice.roll(8, most_microbatches));
  spec.training.replicas = two_way ? 2 : 1;
  const std::uint32_t chunks = spec.shape == PipelineShape::kV || spec.shape == PipelineShape::kLoop ? 2 : 1;
  const bool unequal_times = dice.chance(60);
  const bool unequal_memory = dice.chance(30);
  constexpr std::int64_t kForward = 1000;  // us of a full stage
  const std::int64_t input = dice.roll(900, 2000);
  const std::int64_t weight = dice.roll(300, 1200);
  std::vector<std::int64_t> held(devices, 0);  // by one microbatch on each device, in the replica where it is most
  for (std::uint32_t s = 0; s < chunks * devices; ++s) {
    const auto varied = [&](std::int64_t base) {
      const std::int64_t percent = unequal_times ? dice.roll(60, 150) : 100;
      return Duration(base * 1000 / chunks * percent / 100);
    };
    Layer layer;
    layer.name = fmt::format("stage{}", s);
    layer.operators = {{"stage", "stage", {"compute"}, varied(kForward), varied(input), varied(weight)}};
    const std::int64_t activation = 1000 / chunks * (unequal_memory ? dice.roll(60, 150) : 100);
    layer.activation = Bytes(activation);
    for (std::uint32_t r = 0; r < spec.training.replicas; ++r) {
      held[device_of_stage(spec.shape, s, r, devices)] += activation;
    }
    spec.layers.push_back(std::move(layer));
  }
  if (two_way) {
    // A device has a stage of each replica, but a microbatch uses one of them.
    for (std::uint32_t d = 0; d < devices; ++d) {
      held[d] = std::max(spec.layers[d].activation.value(), spec.layers[devices - 1 - d].activation.value());
    }
  }
  for (std::uint32_t d = 0; d < devices; ++d) spec.devices.push_back(fmt::format("gpu{}", d));
  const Duration hop(dice.chance(50) ? 0 : dice.roll(20, 300) * 1000);
  const std::int64_t least = *std::max_element(held.begin(), held.end());
  const std::int64_t tenths = dice.chance(15) ? 10 : dice.roll(10, 20 * std::int64_t{devices});
  TrainingPipeline result{
      fmt::format("{}: {} {} devices {} microbatches{}{}{} memory {:.1f}", seed, to_string(spec.shape), devices,
                  spec.training.microbatches, unequal_times ? " unequal" : "", unequal_memory ? " uneven memory" : "",
                  hop > Duration() ? " hop" : "", static_cast<double>(tenths) / 10),
      Problem::create(build_pipeline(spec), uniform_cluster(devices, {"compute"}, Bytes(least * tenths / 10), hop))};
  return result;
}

}  // namespace opweave::testing
