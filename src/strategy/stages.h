/// Layers on the stages of a pipeline, and what each stage takes.
#pragma once

#include <vector>

#include "strategy/layer_work.h"
#include "strategy/schedule_order.h"

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

/// Layers in every chunk of a rank that has so many, as layers_of_stages says.
[[nodiscard]] std::vector<std::uint32_t> layers_of_chunks(const Strategy& strategy, std::uint32_t rank,
                                                          std::uint32_t layers);

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
/// Passes of a stage's chunks, which have these numbers of its layers; what is made again, and exposed copies, shared
/// out over all layers alike.
[[nodiscard]] std::vector<PassSeconds> chunk_passes(const Setting& setting, const std::vector<LayerTime>& layers,
                                                    const std::vector<StageLayers>& stage,
                                                    const std::vector<std::uint32_t>& layers_of_chunk, double again);
/// Adds the head to the last chunk of the last stage.
void add_head(const Setting& setting, const LayerTime& head, PassSeconds& last);
/// What the order of the setting's schedule depends on.
[[nodiscard]] OrderSize order_size(const Setting& setting);
/// Schedules whose formula may be too good: where stages or their chunks differ. Not where an order would have millions
/// of passes, of which what differs is a small part.
[[nodiscard]] bool is_valued_by_order(const Setting& setting);
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
/// Where `is_valued_by_ways`, `longest` is a microbatch's share of the longest way, and all that counts.
struct PipelineLoad {
  double longest = 0;
  double sum = 0;
  double weight = 0;  ///< weight gradients
};
/// By the formulas.
[[nodiscard]] PipelineTime pipeline_time(const Setting& setting, const PipelineLoad& load);
/// The same; where `is_valued_by_order`, no less than the passes take in the schedule's order.
[[nodiscard]] PipelineTime pipeline_time(const Setting& setting, const std::vector<LayerTime>& layers,
                                         const std::vector<StageTime>& stages);
/// Formula and order are one if they differ by less than this share.
inline constexpr double kOrderRounding = 1e-9;

/// Microbatches whose activations a stage holds at most; fractions where a chunk is less than a stage.
[[nodiscard]] double in_flight(const Setting& setting, std::uint32_t stage);
/// The same, of a stage whose chunks have these numbers of layers: as a share of all that it keeps of a microbatch.
[[nodiscard]] double in_flight(const Setting& setting, std::uint32_t stage,
                               const std::vector<std::uint32_t>& layers_of_chunk);

/// Microbatches per step of one data-parallel rank.
[[nodiscard]] std::int64_t microbatches(const TrainingRun& run, const Strategy& strategy);

}  // namespace opweave::strategy
