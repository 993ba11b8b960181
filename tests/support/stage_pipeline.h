/// Pipelines whose stages are one operator per phase, and what a schedule makes of them.
#pragma once

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "opweave/experts.h"
#include "opweave/problem.h"
#include "opweave/simulate.h"

namespace opweave::testing {

/// `stages` stages of the given times on `devices` devices; each keeps `activation` bytes until its W.
inline Problem stage_pipeline(PipelineShape shape, std::uint32_t devices, std::uint32_t stages,
                              std::uint32_t microbatches, const StageCosts& costs, Bytes activation = Bytes(1),
                              std::uint32_t replicas = 1) {
  PipelineSpec spec;
  spec.name = "stages";
  for (std::uint32_t stage = 0; stage < stages; ++stage) {
    Layer layer;
    layer.name = "stage" + std::to_string(stage);
    layer.operators = {{"all", "", {"compute"}, costs.forward, costs.input_gradient, costs.weight_gradient}};
    layer.activation = activation;
    spec.layers.push_back(std::move(layer));
  }
  spec.shape = shape;
  for (std::uint32_t device = 0; device < devices; ++device) spec.devices.push_back("gpu" + std::to_string(device));
  spec.training.microbatches = microbatches;
  spec.training.replicas = replicas;
  return Problem::create(build_pipeline(spec), uniform_cluster(devices, {"compute"}, std::nullopt, costs.hop_latency));
}

/// Figures of a simulated order, from its blocks alone.
struct BlockFigures {
  Duration makespan;
  Duration max_idle;       ///< makespan - busy time
  Duration max_span_idle;  ///< idle between a device's first start and last end
  /// Largest number of stages whose activation a device holds from the start of F to the end of W (or I).
  std::uint32_t peak_until_weight_gradient = 0;
  std::uint32_t peak_until_input_gradient = 0;
  bool complete = false;
};

/// Works for blocks with stated durations too, unlike the statistics of a plan. Blocks of a device are
/// one after the other here, so that what is held follows from their order.
inline BlockFigures block_figures(const Problem& problem, const ExecutionOrder& order, const SimulationResult& result) {
  BlockFigures figures;
  figures.makespan = result.makespan;
  figures.complete = result.deadlocked.empty();
  if (!figures.complete) return figures;
  for (const auto& blocks : order.devices) {
    Duration busy;
    Duration first;
    Duration last;
    std::uint32_t held = 0;
    std::uint32_t held_until_input_gradient = 0;
    for (const Block& block : blocks) {
      const TaskId any = block.tasks.front();
      const Duration start = result.schedule.tasks[any.index()].start - block.offsets.front();
      if (busy == Duration(0)) first = start;
      last = start + block.duration;
      busy += block.duration;
      const auto count = [&](Phase phase) {
        return static_cast<std::uint32_t>(std::count_if(block.tasks.begin(), block.tasks.end(),
                                                        [&](TaskId task) { return problem.op(task).phase == phase; }));
      };
      held += count(Phase::kForward);
      held_until_input_gradient += count(Phase::kForward);
      figures.peak_until_weight_gradient = std::max(figures.peak_until_weight_gradient, held);
      figures.peak_until_input_gradient = std::max(figures.peak_until_input_gradient, held_until_input_gradient);
      held -= count(Phase::kWeightGradient);
      held_until_input_gradient -= count(Phase::kInputGradient);
    }
    figures.max_idle = std::max(figures.max_idle, result.makespan - busy);
    figures.max_span_idle = std::max(figures.max_span_idle, last - first - busy);
  }
  return figures;
}

}  // namespace opweave::testing
