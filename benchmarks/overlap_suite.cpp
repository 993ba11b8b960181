/// Operator-level overlap: a DeepSeek-V3-like step on two streams per device.
#include <fmt/format.h>

#include "bench.h"

namespace opweave::bench {
namespace {

constexpr double kMillisecond = 1e6;
constexpr std::int64_t kSlot = 1'000'000;  // bytes that one layer keeps for one microbatch
constexpr std::uint32_t kDevices = 8;
constexpr std::uint32_t kLayers = 32;

Duration ms(double value) { return Duration(static_cast<std::int64_t>(value * kMillisecond + 0.5)); }

/// One MoE layer: milliseconds from DeepSeek's public training trace (see examples/deepseek-v3).
Layer moe_layer(std::uint32_t index) {
  Layer layer;
  layer.name = fmt::format("layer{}", index);
  layer.operators = {
      {"attention", "attention", {"compute"}, ms(4.37), ms(9.34), ms(2.39)},
      {"dispatch", "all_to_all", {"comm"}, ms(4.35), ms(6.37), std::nullopt},
      {"mlp", "expert_mlp", {"compute"}, ms(4.60), ms(5.31), ms(3.54)},
      {"combine", "all_to_all", {"comm"}, ms(5.99), ms(3.41), std::nullopt},
  };
  layer.activation = Bytes(kSlot);
  return layer;
}

struct Case {
  const char* name;
  PipelineShape shape;
  std::uint32_t stages;
  std::uint32_t copies;
  std::int64_t slots;  ///< layer activations per device
  const char* baseline_name;
  double baseline;
  std::uint32_t microbatches = 20;
};

}  // namespace

void run_overlap(const Options& options, const Emit& emit) {
  emit(
      "8 devices with a compute and a comm stream, 32 layers; milliseconds. The published schedules run pairs of "
      "chunks as atomic blocks of 118.20 ms.");
  emit("");
  emit_header(emit);
  const Case cases[] = {
      {"two-way, 2 copies, peak 9", PipelineShape::kTwoWay, 8, 2, 36, "DualPipe", 3551.8},
      {"V, 1 copy, peak 8.5", PipelineShape::kV, 16, 1, 34, "DualPipeV", 3621.8},
      {"V, 1 copy, peak 8", PipelineShape::kV, 16, 1, 32, "ZB-V", 4479.7},
      {"V, 1 copy, peak 5", PipelineShape::kV, 16, 1, 20, "V-Half", 5205.1},
      {"free, 2 copies, peak 9", PipelineShape::kFree, 32, 2, 36, "half of DualPipe's bubbles", 2958},
      {"free, 1 copy, peak 8.5", PipelineShape::kFree, 32, 1, 34, "half of DualPipeV's bubbles", 2993},
  };
  for (const Case& one : cases) {
    if (!options.chooses(one.name)) continue;
    PipelineSpec spec;
    spec.name = one.name;
    spec.shape = one.shape;
    for (std::uint32_t i = 0; i < kLayers; ++i) spec.layers.push_back(moe_layer(i));
    spec.stage_of_layer = even_stages(kLayers, one.stages);
    for (std::uint32_t d = 0; d < kDevices; ++d) spec.devices.push_back(fmt::format("gpu{}", d));
    spec.training.microbatches = one.microbatches;
    spec.training.replicas = one.copies;
    const Problem problem = Problem::create(
        build_pipeline(spec), uniform_cluster(kDevices, {"compute", "comm"}, Bytes(one.slots * kSlot), Duration(0)));
    emit_row(emit, plan_row(one.name, problem, options, kMillisecond, one.baseline_name, one.baseline));
  }
}

}  // namespace opweave::bench
