/// Layers on the stages of a pipeline, and what each stage takes.
#pragma once

#include <vector>

#include "strategy/layer_work.h"

namespace opweave::strategy {

/// Layers of one kind on one stage.
struct StageLayers {
  std::size_t run = 0;  ///< index in ModelDescription::layers
  double count = 0;     ///< fractional where even stages cannot be
};

/// Layers of every pipeline rank, from numbers of them.
[[nodiscard]] std::vector<std::vector<StageLayers>> stages(const ModelDescription& model,
                                                           const std::vector<double>& layers_per_stage);
/// Layers of every pipeline rank. `layers_per_stage` of the strategy, else as even as can be: with chunks, parts of
/// layers stand for a device whose stages differ.
[[nodiscard]] std::vector<std::vector<StageLayers>> stages(const Setting& setting);

/// Forward and backward of one microbatch on each stage, head included on the last, and forward work that is made
/// again.
struct StageTime {
  LayerTime time;
  double recompute = 0;
  double offload = 0;  ///< exposed copies to the host and back

  [[nodiscard]] double total() const { return time.forward.total() + time.backward.total() + recompute + offload; }
};
/// Share of a stage's layers that the strategy makes again whole.
[[nodiscard]] double made_again_share(const Strategy& strategy, const std::vector<StageLayers>& layers);
/// Seconds by which copies of so many bytes to the host are longer than the forward pass that they run beside, and
/// copies back longer than the backward pass.
[[nodiscard]] double exposed_copy_seconds(const Machines& machines, double bytes, double forward, double backward);
[[nodiscard]] std::vector<StageTime> stage_times(const Setting& setting, const std::vector<LayerTime>& layers);
/// Of one stage without head, as the setting's strategy makes layers again.
[[nodiscard]] StageTime stage_time(const Setting& setting, const std::vector<LayerTime>& layers,
                                   const std::vector<StageLayers>& stage);
/// Seconds of a microbatch's weight gradients, for schedules that set them apart.
[[nodiscard]] double weight_gradient_seconds(const StageTime& stage);

/// Seconds from the first forward to the last backward pass, over the busy time of the longest stage: `busy` is
/// microbatches x the longest stage.
struct PipelineTime {
  double busy = 0;
  double bubble = 0;
  double hops = 0;
};
/// All that a pipeline's time depends on: of the longest stage, and sums over stages. Grows with `longest` and `sum`.
struct PipelineLoad {
  double longest = 0;
  double sum = 0;
  double weight = 0;  ///< weight gradients
};
[[nodiscard]] PipelineTime pipeline_time(const Setting& setting, const std::vector<StageTime>& stages);
[[nodiscard]] PipelineTime pipeline_time(const Setting& setting, const PipelineLoad& load);

/// Microbatches whose activations a stage holds at most; fractions where a chunk is less than a stage.
[[nodiscard]] double in_flight(const Setting& setting, std::uint32_t stage);

/// Microbatches per step of one data-parallel rank.
[[nodiscard]] std::int64_t microbatches(const TrainingRun& run, const Strategy& strategy);

}  // namespace opweave::strategy
