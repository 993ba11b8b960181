#include "strategy/stages.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>

#include "opweave/strategy_targets.h"
#include "strategy/axes.h"
#include "strategy/hops.h"
#include "strategy/memory.h"
#include "strategy/modules.h"
#include "strategy/ways.h"

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

/// Parts of layers that are smaller are none.
constexpr double kLayerRounding = 1e-9;
/// Forward passes of an order, whose ends are kept: 100 MB.
constexpr std::int64_t kMostPasses = std::int64_t{1} << 22U;

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
    while (share > kLayerRounding && run < model.layers.size()) {
      const double taken = std::min(share, left_of_run);
      if (taken > 0) stage.push_back({run, taken});
      share -= taken;
      left_of_run -= taken;
      if (left_of_run > kLayerRounding) continue;
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

std::vector<PassSeconds> chunk_passes(const Setting& s, const std::vector<LayerTime>& layers,
                                      const std::vector<StageLayers>& stage,
                                      const std::vector<std::uint32_t>& layers_of_chunk, double again) {
  const bool splits_backward = s.strategy.schedule == PipelineKind::kZeroBubble1;
  const double count = std::accumulate(layers_of_chunk.begin(), layers_of_chunk.end(), 0.0);
  std::vector<PassSeconds> result;
  std::size_t part = 0;
  double left_of_part = stage.empty() ? 0 : stage.front().count;
  for (const std::uint32_t of_chunk : layers_of_chunk) {
    PassSeconds& passes = result.emplace_back();
    for (double left = of_chunk; left > kLayerRounding && part < stage.size();) {
      const double taken = std::min(left, left_of_part);
      const LayerTime& layer = layers[stage[part].run];
      passes.forward += taken * layer.forward.total();
      passes.backward += taken * layer.backward.total();
      if (splits_backward) passes.weight += taken * weight_gradient_seconds({layer});
      left -= taken;
      left_of_part -= taken;
      if (left_of_part <= kLayerRounding && ++part < stage.size()) left_of_part = stage[part].count;
    }
    passes.backward += (count > 0 ? again * of_chunk / count : 0) - passes.weight;
  }
  return result;
}

void add_head(const Setting& s, const LayerTime& head, PassSeconds& last) {
  const double weight = s.strategy.schedule == PipelineKind::kZeroBubble1 ? weight_gradient_seconds({head}) : 0;
  last.forward += head.forward.total();
  last.backward += head.backward.total() - weight;
  last.weight += weight;
}

OrderSize order_size(const Setting& s) {
  return {s.strategy.schedule, s.strategy.stages(), s.strategy.chunks,
          static_cast<std::uint32_t>(microbatches(s.run, s.strategy))};
}

bool is_valued_by_order(const Setting& s) {
  // What 1F1B takes at most is its formula, unless stages spend unlike shares of their time in forward passes.
  const PipelineKind schedule = s.strategy.schedule;
  if (schedule != PipelineKind::kInterleaved && schedule != PipelineKind::kZeroBubble1) return false;
  const std::int64_t passes = microbatches(s.run, s.strategy) * s.strategy.chunks * s.strategy.stages();
  return s.strategy.stages() > 1 && passes <= kMostPasses;
}

double weight_gradient_seconds(const StageTime& stage) {
  // Measured: 0.20 to 0.26 of a stage (arXiv 2401.10241, table 6). Attention and memory traffic have none.
  return stage.time.backward.matrix / 2;
}

PipelineTime pipeline_time(const Setting& s, const std::vector<LayerTime>& layers,
                           const std::vector<StageTime>& times) {
  PipelineLoad load;
  for (const StageTime& stage : times) {
    load.longest = std::max(load.longest, stage.total());
    load.sum += stage.total();
    load.weight += weight_gradient_seconds(stage);
  }
  PipelineTime result = pipeline_time(s, load);
  if (is_valued_by_ways(s.strategy)) {
    result.bubble = longest_way(times, static_cast<double>(microbatches(s.run, s.strategy))) - result.busy;
  }
  if (!is_valued_by_order(s)) return result;
  const auto parts = stages(s);
  const std::vector<std::uint32_t> by_stage = layers_of_stages(s.model, s.strategy);
  std::vector<PassSeconds> passes;
  const std::uint32_t ranks = s.strategy.stages();
  for (std::uint32_t rank = 0; rank < ranks; ++rank) {
    std::vector<std::uint32_t> layers_of_chunk;
    for (std::size_t i = rank; i < by_stage.size(); i += ranks) layers_of_chunk.push_back(by_stage[i]);
    const double again = times[rank].recompute + times[rank].offload;
    std::ranges::copy(chunk_passes(s, layers, parts[rank], layers_of_chunk, again), std::back_inserter(passes));
  }
  add_head(s, head_time(s), passes.back());
  const double in_order = ScheduleOrder(order_size(s)).seconds(passes);
  if (in_order > (result.busy + result.bubble) * (1 + kOrderRounding)) result.bubble = in_order - result.busy;
  return result;
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
    // With twice the microbatches of 1F1B in flight there are others to run while one is on its way: what is left is
    // one way down and back.
    const bool has_others = s.strategy.schedule == PipelineKind::kZeroBubble2;
    time.hops = 2 * ((has_others ? 0 : count * hops.slowest) + hops.sum);
  } else {
    const Ring link = hop(s.machines, s.strategy);
    const double message = 2 * s.tokens() * static_cast<double>(s.model.hidden) / s.strategy.tensor;
    const double one_hop = link.latency + message / link.bandwidth;
    const bool has_chunks = s.strategy.schedule == PipelineKind::kInterleaved;
    time.hops = 2 * one_hop * (count * (has_chunks ? kInterleavedHopShare * s.strategy.chunks : 1) + depth - 1);
  }
  // A first forward pass goes down all stages and its backward pass comes back; ends are filled with weight gradients
  // where the schedule sets them apart.
  const double critical = (depth + count - 1) * (mean - weight) + weight - count * longest;
  if (is_valued_by_ways(s.strategy)) return time;
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

double in_flight(const Setting& s, std::uint32_t stage, const std::vector<std::uint32_t>& layers_of_chunk) {
  const auto [fewest, most] = std::ranges::minmax(layers_of_chunk);
  if (s.strategy.schedule != PipelineKind::kInterleaved || fewest == most) return in_flight(s, stage);
  // Chunks that hold more count for more: by the order of passes, until it repeats.
  const OrderSize size = order_size(s);
  const std::uint64_t ahead = passes_ahead(size, stage);
  const std::uint64_t total = std::uint64_t{size.chunks} * size.microbatches;
  const std::uint64_t period = std::uint64_t{size.chunks} * ForwardPasses(size).first_round();
  std::int64_t held = 0;
  std::int64_t peak = 0;
  ForwardPasses forward(size);
  ForwardPasses backward(size);
  for (std::uint64_t slot = 0; slot < std::min(total, ahead + 2 * period); ++slot, forward.next()) {
    held += layers_of_chunk[forward.chunk()];
    peak = std::max(peak, held);
    if (slot < ahead) continue;
    held -= layers_of_chunk[size.chunks - 1 - backward.chunk()];
    backward.next();
  }
  const auto layers = std::accumulate(layers_of_chunk.begin(), layers_of_chunk.end(), std::int64_t{0});
  return static_cast<double>(peak) / static_cast<double>(layers);
}

}  // namespace opweave::strategy
