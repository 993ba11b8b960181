#include "strategy/hops.h"

#include <algorithm>
#include <cmath>

#include "cost/movement.h"
#include "strategy/axes.h"
#include "strategy/products.h"

namespace opweave::strategy {
namespace {

/// Bytes of the component's result for one rank of the main chain that attends to it. It passes all stages, with the
/// hidden state.
double attended_bytes(const Setting& s) {
  for (const LayerRun& layer : s.model.layers) {
    if (!layer.cross) continue;
    const auto width = static_cast<double>(s.model.components[layer.cross->from].hidden);
    return kWord * source_tokens(s, *layer.cross) * width / s.strategy.tensor;
  }
  return 0;
}

/// From the mesh of the component to that of the others. All rows and tokens of a microbatch lie evenly over the ranks
/// of both, so each end of the smaller mesh has its share of the bytes, from or for as many ranks of the larger.
StageMessage message_between_meshes(const Setting& s) {
  const ComponentMesh& mesh = *s.strategy.component;
  const auto found = std::ranges::find(s.model.components, mesh.name, &ModelComponent::name);
  const auto tokens = static_cast<double>(found->tokens.value_or(s.run.sequence));
  const auto from = static_cast<std::size_t>(found - s.model.components.begin());
  // What becomes tokens of the main chain has its width already; what is attended to has its own.
  const bool is_attended = std::ranges::any_of(
      s.model.layers, [&](const LayerRun& layer) { return layer.cross && layer.cross->from == from; });
  const auto width = static_cast<double>(is_attended ? found->hidden : s.model.hidden);
  const double rows = static_cast<double>(s.strategy.data) * s.strategy.micro_batch;
  const auto before = static_cast<double>(mesh.stage_ranks());
  const double behind = static_cast<double>(s.strategy.tensor) * s.strategy.context * s.strategy.data;
  return {kWord * rows * tokens * width / std::min(before, behind),
          std::ceil(std::max(before, behind) / std::min(before, behind))};
}

}  // namespace

StageMessage message_behind(const Setting& s, std::uint32_t stage) {
  const std::uint32_t first = s.strategy.first_stage();
  if (stage + 1 == first) return message_between_meshes(s);
  if (stage < first) {
    return in_setting_of(s, s.model.layers.front(), [](const Setting& own) {
      return StageMessage{kWord * own.tokens() * static_cast<double>(own.model.hidden) / own.strategy.tensor, 1};
    });
  }
  const double hidden = kWord * s.tokens() * static_cast<double>(s.model.hidden) / s.strategy.tensor;
  // One mesh of all stages is valued as in the measured steps that profiles were fitted on.
  return {hidden + (s.strategy.component ? attended_bytes(s) : 0), 1};
}

HopTimes hop_times(const Setting& s) {
  const Ring link = hop(s.machines, s.strategy);
  HopTimes times;
  for (std::uint32_t stage = 0; stage + 1 < s.strategy.stages(); ++stage) {
    const StageMessage behind = message_behind(s, stage);
    Rate rate;
    rate.latency = Duration(std::llround(link.latency * 1e9));
    rate.bandwidth_bytes_per_s = static_cast<std::int64_t>(link.bandwidth);
    const Duration time = stepwise_time(rate, static_cast<std::int64_t>(behind.messages),
                                        Bytes(std::llround(std::ceil(behind.bytes))), 1, 1);
    const double seconds = static_cast<double>(time.value()) * 1e-9;
    times.slowest = std::max(times.slowest, seconds);
    times.sum += seconds;
  }
  return times;
}

}  // namespace opweave::strategy
