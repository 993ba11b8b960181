#include <algorithm>
#include <cmath>

#include "opweave/strategy_answer.h"
#include "strategy/axes.h"
#include "strategy/memory.h"
#include "strategy/products.h"
#include "strategy/stages.h"
#include "strategy/step_end.h"

namespace opweave {
namespace strategy {
namespace {

/// Bytes per weight that a step of Adam reads and writes: state and gradients in fp32, weights in bf16.
constexpr double kOptimizerTraffic = 28;
/// Bytes per second of a device's share of its host, in a step of Adam: 0.26 s for a billion weights on two sockets of
/// DDR4-2666 (ZeRO-Offload, arXiv 2101.06840, table 4) are 42 % of their bandwidth, those of DDR5-4800 among 8 devices.
constexpr double kHostAdamBandwidth = 32e9;
/// Bytes per weight that go to the host and come back: a gradient in fp32, a weight in bf16.
constexpr double kHostWeightTraffic = 6;
/// Share of the gradients' reduction that is exposed where it runs beside the last backward passes, and where it does
/// not but gathers of the next forward pass do.
constexpr double kOverlappedDataShare = 0.15;
constexpr double kPlainDataShare = 0.5;
/// Share of gathers and reductions of sharded weights that is exposed even where layers take longer: the first and last
/// of each pass, and contention.
constexpr double kExposedGatherShare = 0.1;

Duration nanoseconds(double seconds) { return Duration(static_cast<std::int64_t>(std::llround(seconds * 1e9))); }

}  // namespace

namespace {

/// Of the layers of one mesh, whose strategy the setting has, per one of its `stages` on average.
double sharded_weights_seconds(const Setting& s, const std::vector<LayerTime>& layers, bool of_component,
                               std::uint32_t stages) {
  const double count = static_cast<double>(microbatches(s.run, s.strategy));
  const Ring ring = data_ring(s.machines, s.strategy);
  const Ring expert_ring = expert_data_ring(s.machines, s.strategy);
  double sum = 0;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (has_own_mesh(s.model, s.strategy, s.model.layers[i]) != of_component) continue;
    const LayerWeights held = layer_weights(s, s.model.layers[i]);
    const auto seconds = [&](double bytes) {
      return s.profile.communication *
             (all_gather_seconds(ring, bytes * held.common) + all_gather_seconds(expert_ring, bytes * held.experts));
    };
    const double gather = seconds(2);
    const double reduce = seconds(s.gradient_bytes());
    const double forward = layers[i].forward.total();
    const double backward = layers[i].backward.total();
    const double exposed = std::max(0.0, gather - forward) + std::max(0.0, gather + reduce - backward) +
                           kExposedGatherShare * (2 * gather + reduce);
    sum += exposed * count * static_cast<double>(s.model.layers[i].count) / stages;
  }
  return sum;
}

}  // namespace

double sharded_weights_seconds(const Setting& s, const std::vector<LayerTime>& layers) {
  const auto of_stage = [&](std::uint32_t stage, bool of_component, std::uint32_t stages) {
    const Strategy own = s.strategy.of_stage(stage);
    // A mesh without copies has nothing to gather.
    if (own.sharding != Sharding::kWeights) return 0.0;
    return sharded_weights_seconds({s.model, s.machines, s.run, own, s.profile}, layers, of_component, stages);
  };
  const double others = of_stage(s.strategy.first_stage(), false, s.strategy.pipeline);
  if (!s.strategy.component) return others;
  return std::max(others, of_stage(0, true, s.strategy.component->pipeline));
}

double gradient_seconds(const Setting& s, const LayerWeights& held) {
  // Reduced, then gathered: weights, or gradients where every rank steps all of them.
  const double bytes = s.gradient_bytes() + (s.strategy.sharding == Sharding::kNone ? s.gradient_bytes() : 2);
  const double sum = reduce_scatter_seconds(data_ring(s.machines, s.strategy), bytes * held.common) +
                     reduce_scatter_seconds(expert_data_ring(s.machines, s.strategy), bytes * held.experts);
  return sum * (s.strategy.overlaps_data ? kOverlappedDataShare : kPlainDataShare);
}

double optimizer_seconds(const Setting& s, const LayerWeights& held) {
  const double copies = static_cast<double>(s.strategy.data) * s.strategy.context;
  const bool is_shared = s.strategy.sharding != Sharding::kNone;
  const double stepped = held.common / (is_shared ? copies : 1) +
                         held.experts / (is_shared ? std::max(1.0, expert_copies(s.strategy)) : 1);
  const double zeroed = 4 * (held.common + held.experts);
  const double here = (kOptimizerTraffic * stepped + zeroed) / s.machines.device.memory_bandwidth;
  if (s.strategy.optimizer_offload == 0) return here;
  // The host steps its share after the device has stepped the rest.
  const double there = s.strategy.optimizer_offload * stepped *
                       (kOptimizerTraffic / kHostAdamBandwidth + kHostWeightTraffic / s.machines.device.host_bandwidth);
  return here + there;
}

double end_seconds(const Setting& s, const LayerWeights& held) {
  return optimizer_seconds(s, held) + (s.strategy.sharding == Sharding::kWeights ? 0 : gradient_seconds(s, held));
}

namespace {

struct StepEnd {
  double gradients = 0;
  double optimizer = 0;
};

/// Of the stage whose weights take longest: the step ends with it.
StepEnd latest_end(const Setting& s) {
  const std::vector<LayerWeights> held = held_weights(s);
  StepEnd latest;
  double latest_seconds = -1;
  for (std::uint32_t stage = 0; stage < held.size(); ++stage) {
    const Strategy strategy = s.strategy.of_stage(stage);
    const Setting own{s.model, s.machines, s.run, strategy, s.profile};
    if (end_seconds(own, held[stage]) <= latest_seconds) continue;
    latest_seconds = end_seconds(own, held[stage]);
    latest = {gradient_seconds(own, held[stage]), optimizer_seconds(own, held[stage])};
  }
  return latest;
}

/// Flops of one sequence that the model needs, without what is made again: 6 per weight of a matrix and token, and the
/// products of attention in full (as published figures count them).
double model_flops(const ModelDescription& model, std::int64_t sequence) {
  const double head = static_cast<double>(model.vocabulary) * static_cast<double>(model.hidden);
  const auto scores = [](const Attention& attention) {
    return static_cast<double>(attention.heads * (attention.query_key_dim() + attention.value_dim()));
  };
  double products = head * static_cast<double>(sequence);
  for (const LayerRun& run : model.layers) {
    const auto tokens = static_cast<double>(model.tokens_in(run, sequence));
    double layer = static_cast<double>(active_parameters(model, run)) + scores(run.attention) * tokens;
    if (run.recurrence) {  // into the state, and out of it
      layer += 2 * static_cast<double>(run.recurrence->key_dim) * static_cast<double>(run.recurrence->values());
    }
    if (run.cross) {
      const ModelComponent& source = model.components[run.cross->from];
      layer += scores(run.cross->attention) * static_cast<double>(source.tokens.value_or(sequence));
    }
    if (run.predicts_ahead) layer += head;
    products += static_cast<double>(run.count) * tokens * layer;
  }
  return 6 * products;
}

StepTime step_time(const Setting& s) {
  std::vector<LayerTime> layers;
  for (const LayerRun& run : s.model.layers) layers.push_back(layer_time(s, run));
  const std::vector<StageTime> stages = stage_times(s, layers);
  const PipelineTime pipeline = pipeline_time(s, layers, stages);
  const StageTime& longest = *std::ranges::max_element(stages, {}, &StageTime::total);
  PassTime both = longest.time.forward;
  both += longest.time.backward;
  const auto count = static_cast<double>(microbatches(s.run, s.strategy));
  const StepEnd end = latest_end(s);

  StepTime time;
  time.matrix = nanoseconds(count * both.matrix);
  time.attention = nanoseconds(count * both.attention);
  time.traffic = nanoseconds(count * both.traffic);
  time.tensor = nanoseconds(count * both.tensor);
  time.expert = nanoseconds(count * both.expert);
  time.recompute = nanoseconds(count * longest.recompute);
  time.offload = nanoseconds(count * longest.offload);
  time.hops = nanoseconds(pipeline.hops);
  time.bubble = nanoseconds(pipeline.bubble);
  time.data =
      nanoseconds(s.strategy.sharding == Sharding::kWeights ? sharded_weights_seconds(s, layers) : end.gradients);
  time.optimizer = nanoseconds(end.optimizer);
  time.step = time.matrix + time.attention + time.traffic + time.recompute + time.offload + time.tensor + time.expert +
              time.data + time.hops + time.bubble + time.optimizer;
  return time;
}

}  // namespace
}  // namespace strategy

StrategyValue evaluate(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                       const Strategy& strategy, const CalibrationProfile& profile) {
  const strategy::Setting setting{model, machines, run, strategy, profile};
  StrategyValue result;
  result.time = strategy::step_time(setting);
  const std::vector<StepMemory> memories = strategy::stage_memories(setting);
  const auto most = std::ranges::max_element(memories, {}, &StepMemory::total);
  result.memory = *most;
  result.stage = static_cast<std::uint32_t>(most - memories.begin());
  result.host = std::ranges::max_element(memories, {}, &StepMemory::host)->host;
  result.fits = std::ranges::all_of(memories, [&](const StepMemory& one) { return strategy::fits(one, machines); });
  const double seconds = static_cast<double>(result.time.step.value()) * 1e-9;
  const auto batch = static_cast<double>(run.global_batch);
  const auto sequence = static_cast<double>(run.sequence);
  result.tokens_per_second = batch * sequence / seconds;
  result.mfu = batch * strategy::model_flops(model, run.sequence) /
               (seconds * static_cast<double>(strategy.devices()) * machines.device.bf16_flops);
  return result;
}

std::vector<StageValue> evaluate_stages(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                                        const Strategy& strategy, const CalibrationProfile& profile) {
  const strategy::Setting setting{model, machines, run, strategy, profile};
  std::vector<strategy::LayerTime> layers;
  for (const LayerRun& layer : model.layers) layers.push_back(strategy::layer_time(setting, layer));
  const auto parts = strategy::stages(setting);
  const auto times = strategy::stage_times(setting, layers);
  const auto memories = strategy::stage_memories(setting);
  std::vector<StageValue> values;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    StageValue& value = values.emplace_back();
    for (const strategy::StageLayers& part : parts[i]) value.layers.push_back({part.run, part.count});
    value.memory = memories[i];
    value.forward = strategy::nanoseconds(times[i].time.forward.total());
    value.backward = strategy::nanoseconds(times[i].time.backward.total());
    value.recompute = strategy::nanoseconds(times[i].recompute);
    value.offload = strategy::nanoseconds(times[i].offload);
  }
  return values;
}

}  // namespace opweave
