/// The pipeline of a strategy as work for the planner of operators: one device stands for the ranks of a stage, which
/// do the same.
#pragma once

#include "opweave/cluster.h"
#include "opweave/pipeline.h"
#include "opweave/strategy.h"

namespace opweave {

struct Representatives {
  /// A layer of one operator for every layer of the model and for the head; shape, stages and devices are left open.
  PipelineSpec spec;
  std::vector<std::uint32_t> stage_of_layer;  ///< as the strategy says, for shape linear
  /// As the strategy says, for a loop of its chunks; empty where a stage would have neither a layer nor the head.
  std::vector<std::uint32_t> stage_of_looped_layer;
  Cluster cluster;   ///< a device per pipeline rank, with the memory that layers may use
  Duration outside;  ///< of a step: before the first and after the last pass of layers
};

/// Times, kept bytes and messages of the formulas (docs/strategies.md). Layers that are made again keep their input,
/// and the rest from their I to their W. Bytes are those of a whole rank: weights with gradients and state, activations
/// with their share of fragmentation. \pre why_impossible is empty, at least two stages, layers_per_stage is not empty
[[nodiscard]] Representatives representatives(const ModelDescription& model, const Machines& machines,
                                              const TrainingRun& run, const Strategy& strategy,
                                              const CalibrationProfile& profile);

/// The layers of each stage as one layer: times and bytes add up, and the last one's output goes on. \pre the spec has
/// a stage for each layer, and every layer one operator
[[nodiscard]] PipelineSpec with_joined_stages(const PipelineSpec& spec);

}  // namespace opweave
