#include "strategy/stages.h"

#include <algorithm>
#include <cmath>

#include "opweave/strategy_targets.h"
#include "strategy/axes.h"
#include "strategy/hops.h"
#include "strategy/memory.h"
#include "strategy/modules.h"

namespace opweave::strategy {
namespace {

/// Share of the transfers between stages that an interleaved schedule leaves exposed: it has other chunks to run.
constexpr double kInterleavedHopShare = 0.6;
/// Layers of every device.
std::vector<double> shares(const Setting& s) {
  const std::uint32_t ranks = s.strategy.stages();
  std::vector<double> counts(ranks);
  // The last stages, with the head among them, get the fewer.
  const std::vector<std::uint32_t> by_stage = layers_of_stages(s.model, s.strategy);
  for (std::size_t stage = 0; stage < by_stage.size(); ++stage) counts[stage % ranks] += by_stage[stage];
  return counts;
}

}  // namespace

std::int64_t microbatches(const TrainingRun& run, const Strategy& strategy) {
  return run.global_batch / (static_cast<std::int64_t>(strategy.data) * strategy.micro_batch);
}

std::vector<std::vector<StageLayers>> stages(const Setting& s) { return stages(s.model, shares(s)); }

std::vector<std::vector<StageLayers>> stages(const ModelDescription& model,
                                             const std::vector<double>& layers_per_stage) {
  std::vector<std::vector<StageLayers>> result;
  std::size_t run = 0;
  double left_of_run = static_cast<double>(model.layers.front().count);
  for (double share : layers_per_stage) {
    auto& stage = result.emplace_back();
    while (share > 1e-9 && run < model.layers.size()) {
      const double taken = std::min(share, left_of_run);
      if (taken > 0) stage.push_back({run, taken});
      share -= taken;
      left_of_run -= taken;
      if (left_of_run > 1e-9) continue;
      if (++run < model.layers.size()) left_of_run = static_cast<double>(model.layers[run].count);
    }
  }
  return result;
}

double made_again_share(const Strategy& strategy, const std::vector<StageLayers>& layers) {
  if (strategy.recompute != Recompute::kFull) return 0;
  if (!strategy.recomputed_layers) return 1;
  double count = 0;
  for (const StageLayers& part : layers) count += part.count;
  return count > 0 ? std::min(1.0, static_cast<double>(*strategy.recomputed_layers) / count) : 0;
}

double exposed_copy_seconds(const Machines& machines, double bytes, double forward, double backward) {
  const double seconds = bytes / machines.device.host_bandwidth;
  return std::max(0.0, seconds - forward) + std::max(0.0, seconds - backward);
}

StageTime stage_time(const Setting& s, const std::vector<LayerTime>& layers, const std::vector<StageLayers>& stage) {
  StageTime time;
  const double share = made_again_share(s.strategy, stage);
  for (const StageLayers& part : stage) {
    const LayerTime& layer = layers[part.run];
    time.time.forward += layer.forward * part.count;
    time.time.backward += layer.backward * part.count;
    time.recompute += part.count * (share * layer.forward.total() +
                                    (1 - share) * seconds_of(s.strategy.recomputed_modules, layer.modules));
  }
  if (const double offload = s.strategy.activation_offload; offload > 0) {
    time.offload = exposed_copy_seconds(s.machines, offload * stage_activations(s, stage).microbatch,
                                        time.time.forward.total(), time.time.backward.total());
  }
  return time;
}

std::vector<StageTime> stage_times(const Setting& s, const std::vector<LayerTime>& layers) {
  std::vector<StageTime> times;
  for (const auto& stage : stages(s)) {
    const Strategy own = s.strategy.of_stage(static_cast<std::uint32_t>(times.size()));
    times.push_back(stage_time({s.model, s.machines, s.run, own, s.profile}, layers, stage));
  }
  const LayerTime head = head_time(s);
  times.back().time.forward += head.forward;
  times.back().time.backward += head.backward;
  return times;
}

double weight_gradient_seconds(const StageTime& stage) {
  // Measured: 0.20 to 0.26 of a stage (arXiv 2401.10241, table 6). Attention and memory traffic have none.
  return stage.time.backward.matrix / 2;
}

PipelineTime pipeline_time(const Setting& s, const std::vector<StageTime>& stages) {
  PipelineLoad load;
  for (const StageTime& stage : stages) {
    load.longest = std::max(load.longest, stage.total());
    load.sum += stage.total();
    load.weight += weight_gradient_seconds(stage);
  }
  return pipeline_time(s, load);
}

PipelineTime pipeline_time(const Setting& s, const PipelineLoad& load) {
  const auto count = static_cast<double>(microbatches(s.run, s.strategy));
  const double depth = s.strategy.stages();
  const auto [longest, sum, all_weight] = load;
  PipelineTime time;
  time.busy = count * longest;
  if (s.strategy.stages() == 1) return time;
  const double mean = sum / depth;
  const double weight = all_weight / depth;
  if (s.strategy.component) {
    const HopTimes hops = hop_times(s);
    time.hops = 2 * (count * hops.slowest + hops.sum);
  } else {
    const Ring link = hop(s.machines, s.strategy);
    const double message = 2 * s.tokens() * static_cast<double>(s.model.hidden) / s.strategy.tensor;
    const double one_hop = link.latency + message / link.bandwidth;
    const bool has_chunks = s.strategy.schedule == PipelineKind::kInterleaved;
    time.hops = 2 * one_hop * (count * (has_chunks ? kInterleavedHopShare * s.strategy.chunks : 1) + depth - 1);
  }
  // A first forward pass goes down all stages and its backward pass comes back; ends are filled with weight gradients
  // where the schedule sets them apart.
  double critical = (depth + count - 1) * (mean - weight) + weight - count * longest;
  if (s.strategy.component) {
    // Stages of two meshes are as long as they are: one microbatch takes all of them, the others follow each other on
    // the longest, which has its share of the weight gradients.
    const double own_weight = all_weight * longest / sum;
    critical = sum - all_weight + (count - 1) * (longest - own_weight) + own_weight - count * longest;
  }
  switch (s.strategy.schedule) {
    case PipelineKind::k1F1B:
      time.bubble = sum - longest;
      break;
    case PipelineKind::kInterleaved:
      time.bubble = (sum - longest) / s.strategy.chunks;
      break;
    case PipelineKind::kZeroBubble1:
      time.bubble = std::max({0.0, (depth - 1) * (mean - 2 * weight), critical});
      break;
    case PipelineKind::kZeroBubble2:
      time.bubble = std::max({0.0, (depth - 1) * (mean - 3 * weight), critical});
      break;
    case PipelineKind::kDualPipe:
      time.bubble = std::max(0.0, (depth / 2 - 1) * (mean - 2 * weight));
      break;
  }
  return time;
}

double in_flight(const Setting& s, std::uint32_t stage) {
  const auto count = static_cast<double>(microbatches(s.run, s.strategy));
  const double depth = s.strategy.stages();
  const double behind = depth - stage;  // this stage and those after it
  switch (s.strategy.schedule) {
    case PipelineKind::k1F1B:
    case PipelineKind::kZeroBubble1:
      return std::min(count, behind);
    case PipelineKind::kInterleaved: {
      const double chunks = s.strategy.chunks;
      return std::min(count, (2 * (behind - 1) + (chunks - 1) * depth + 1) / chunks);
    }
    case PipelineKind::kZeroBubble2:  // every stage may hold what the first one does
      return std::min(count, 2 * depth - 1);
    case PipelineKind::kDualPipe:
      return std::min(count, depth + 1);
  }
  return count;
}

}  // namespace opweave::strategy
