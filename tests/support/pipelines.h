/// Pipelines with known schedules, as problems.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "opweave/pipeline.h"
#include "opweave/problem.h"

namespace opweave::testing {

/// One unit of cost (a forward of one full stage) in ns, so that costs with four decimals are exact.
inline constexpr std::int64_t kUnit = 1'000'000;

inline Duration units(double value) { return Duration(std::llround(value * static_cast<double>(kUnit))); }

/// A pipeline of stages with three operators each: what the published schedules speak of.
struct StagePipeline {
  PipelineShape shape = PipelineShape::kLinear;
  std::uint32_t devices = 1;
  std::uint32_t microbatches = 1;
  double forward = 1;  ///< of one full stage
  double input_gradient = 1;
  double weight_gradient = 1;
  double hop_latency = 0;
  /// Activations of full stages that fit on each device; empty = unlimited.
  std::vector<double> activations;
};

/// Stages per device: two half stages in a V or a loop.
inline std::uint32_t chunks(PipelineShape shape) {
  return shape == PipelineShape::kV || shape == PipelineShape::kLoop ? 2 : 1;
}

/// The activation of a full stage has 2 bytes, held from the start of F to the end of W.
inline Problem stage_pipeline(const StagePipeline& pipeline) {
  const std::uint32_t parts = chunks(pipeline.shape);
  PipelineSpec spec;
  spec.name = "stages";
  spec.shape = pipeline.shape;
  spec.training.microbatches = pipeline.microbatches;
  spec.training.replicas = pipeline.shape == PipelineShape::kTwoWay ? 2 : 1;
  for (std::uint32_t s = 0; s < parts * pipeline.devices; ++s) {
    Layer layer;
    layer.name = "stage" + std::to_string(s);
    layer.operators = {{"op", "", {"compute"}, units(pipeline.forward / parts), units(pipeline.input_gradient / parts),
                        units(pipeline.weight_gradient / parts)}};
    layer.activation = Bytes(2 / parts);
    spec.layers.push_back(std::move(layer));
  }
  for (std::uint32_t d = 0; d < pipeline.devices; ++d) spec.devices.push_back("gpu" + std::to_string(d));
  ClusterParts parts_of_cluster =
      uniform_cluster(pipeline.devices, {"compute"}, std::nullopt, units(pipeline.hop_latency)).parts();
  for (std::size_t d = 0; d < pipeline.activations.size(); ++d) {
    parts_of_cluster.devices[d].memory = Bytes(std::llround(2 * pipeline.activations[d]));
  }
  return Problem::create(build_pipeline(spec), Cluster::create(std::move(parts_of_cluster)));
}

/// The measured mixture-of-experts layer in a pipeline of 4 layers per device, with a compute and a
/// communication stream. Each layer's activation has 1 byte.
/// \param activations  of full stages (4 layers) that fit on a device.
inline Problem layer_pipeline(const std::filesystem::path& layer_json, PipelineShape shape, std::uint32_t devices,
                              std::uint32_t microbatches, double activations, std::uint32_t replicas = 0) {
  const auto file = nlohmann::json::parse(std::ifstream(layer_json));
  const auto duration = [](const nlohmann::json& ms, const char* phase) -> std::optional<Duration> {
    if (!ms.contains(phase)) return std::nullopt;
    return Duration(std::llround(ms[phase].get<double>() * 1e6));
  };
  Layer layer;
  for (const auto& op : file["operators"]) {
    const auto& ms = op["ms"];
    layer.operators.push_back({op["name"], "", {op["stream"]}, duration(ms, "F"), duration(ms, "I"), duration(ms, "W")});
  }
  layer.activation = Bytes(1);
  PipelineSpec spec;
  spec.name = "layers";
  spec.shape = shape;
  spec.training.microbatches = microbatches;
  spec.training.replicas = replicas != 0 ? replicas : (shape == PipelineShape::kTwoWay ? 2 : 1);
  const std::uint32_t layers = 4 * devices;
  for (std::uint32_t i = 0; i < layers; ++i) {
    layer.name = "layer" + std::to_string(i);
    spec.layers.push_back(layer);
  }
  spec.stage_of_layer = even_stages(layers, shape == PipelineShape::kFree ? layers : chunks(shape) * devices);
  for (std::uint32_t d = 0; d < devices; ++d) spec.devices.push_back("gpu" + std::to_string(d));
  return Problem::create(build_pipeline(spec), uniform_cluster(devices, {"compute", "comm"},
                                                               Bytes(std::llround(4 * activations)), Duration(0)));
}

}  // namespace opweave::testing
