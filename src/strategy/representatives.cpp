#include "opweave/representatives.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "opweave/strategy_targets.h"
#include "strategy/axes.h"
#include "strategy/hops.h"
#include "strategy/layer_memory.h"
#include "strategy/memory.h"
#include "strategy/modules.h"
#include "strategy/stages.h"
#include "strategy/step_end.h"

namespace opweave {
namespace {

using strategy::Setting;

Duration nanoseconds(double seconds) { return Duration(static_cast<std::int64_t>(std::llround(seconds * 1e9))); }
Bytes bytes(double value) { return Bytes(static_cast<std::int64_t>(std::llround(value))); }

/// Weights, gradients and state of so many weights.
Bytes states(const Setting& s, const strategy::LayerWeights& held) {
  const StepMemory memory = strategy::stage_memory(s, 0, {}, held);
  return memory.weights + memory.gradients + memory.optimizer;
}

/// Bytes of a microbatch in one layer.
struct Kept {
  double kept = 0;
  double input = 0;  ///< where it is made again whole
  double all = 0;    ///< while it is made again
};
Kept kept_by(const Setting& s, std::size_t run) {
  const strategy::LayerMemory memory = strategy::layer_memory(s, s.model.layers[run]);
  const double here = 1 - s.strategy.activation_offload;
  return {memory.kept * here, memory.input * here, memory.all};
}

Layer layer_of(std::string name, const strategy::LayerTime& time, double again) {
  Layer layer;
  layer.name = std::move(name);
  LayerOperator& op = layer.operators.emplace_back();
  op.name = "all";
  // As for schedules that set weight gradients apart.
  const double weight = strategy::weight_gradient_seconds({time, 0});
  op.forward = nanoseconds(time.forward.total());
  op.input_gradient = nanoseconds(time.backward.total() - weight + again);
  op.weight_gradient = nanoseconds(weight);
  return layer;
}

/// As the strategy is, but on the mesh of the stage.
Strategy on_own_mesh(const Strategy& strategy, std::uint32_t stage) {
  return strategy.component ? strategy.of_stage(stage) : strategy;
}

/// What a layer of the stage sends on. Where several messages follow each other, their latencies count as bytes.
Bytes message_bytes(const Setting& s, const Ring& link, std::uint32_t stage) {
  if (stage + 1 == s.strategy.stages()) {
    return bytes(2 * s.tokens() * static_cast<double>(s.model.hidden) / s.strategy.tensor);
  }
  const strategy::StageMessage message = strategy::message_behind(s, stage);
  return bytes(message.bytes + (message.messages - 1) * link.latency * link.bandwidth);
}

/// The embedding goes with the first layer of its mesh, what a component has beside its layers with its first.
void add_beside(const Setting& s, const std::vector<strategy::LayerWeights>& beside, Representatives& result) {
  const std::uint32_t first = s.strategy.first_stage();
  const auto add = [&](std::uint32_t stage) {
    const auto layer = std::ranges::find_if(result.stage_of_layer, [&](std::uint32_t of) { return of >= stage; });
    const Strategy own = on_own_mesh(s.strategy, stage);
    Layer& taker = result.spec.layers[static_cast<std::size_t>(layer - result.stage_of_layer.begin())];
    taker.weights = taker.weights + states({s.model, s.machines, s.run, own, s.profile}, beside[stage]);
  };
  add(first);
  if (first > 0) add(0);
}

/// The chunk of every layer, and of the head on the last.
std::vector<std::uint32_t> looped_stages(const ModelDescription& model, const Strategy& strategy) {
  if (strategy.component) return {};
  std::vector<std::uint32_t> layers = layers_of_stages(model, strategy);
  ++layers.back();
  if (std::ranges::find(layers, 0U) != layers.end()) return {};
  std::vector<std::uint32_t> result;
  for (std::uint32_t stage = 0; stage < layers.size(); ++stage) result.insert(result.end(), layers[stage], stage);
  return result;
}

/// Adds `layer` behind `stage` on the same device.
void append(Layer& stage, const Layer& layer) {
  LayerOperator& sum = stage.operators.front();
  const LayerOperator& op = layer.operators.front();
  const auto add = [](std::optional<LayerTime>& to, const std::optional<LayerTime>& time) {
    to = LayerTime(*to->on("") + *time->on(""));
  };
  add(sum.forward, op.forward);
  add(sum.input_gradient, op.input_gradient);
  add(sum.weight_gradient, op.weight_gradient);
  stage.weights = stage.weights + layer.weights;
  stage.activation = stage.activation + layer.activation;
  stage.activation_until_input_gradient = stage.activation_until_input_gradient + layer.activation_until_input_gradient;
  stage.weight_gradient_input = stage.weight_gradient_input + layer.weight_gradient_input;
  stage.output = layer.output;
}

}  // namespace

Representatives representatives(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                                const Strategy& strategy, const CalibrationProfile& profile) {
  const Setting s{model, machines, run, strategy, profile};
  const double with_fragments = 1 + strategy::kFragmentation;
  const Ring link = strategy::hop(machines, strategy);
  std::vector<strategy::LayerTime> times;
  for (const LayerRun& layers : model.layers) times.push_back(strategy::layer_time(s, layers));
  const auto stages = strategy::stages(s);
  std::vector<strategy::LayerWeights> beside = strategy::held_weights(s);
  Representatives result;
  double largest_layer = 0;
  for (std::uint32_t stage = 0; stage < stages.size(); ++stage) {
    const Strategy own = strategy.of_stage(stage);
    const Setting of_stage{model, machines, run, own, profile};
    const Bytes message = message_bytes(s, link, stage);
    const bool makes_all_again = own.recompute == Recompute::kFull && !own.recomputed_layers;
    std::uint32_t left = own.recompute == Recompute::kFull ? own.recomputed_layers.value_or(0) : 0;
    // Exposed copies come with the layers that they belong to.
    const double offload = strategy::stage_time(of_stage, times, stages[stage]).offload;
    double count = 0;
    for (const strategy::StageLayers& part : stages[stage]) count += part.count;
    for (const strategy::StageLayers& part : stages[stage]) {
      const LayerRun& layers = model.layers[part.run];
      const strategy::LayerWeights weights = strategy::layer_weights(s, layers);
      largest_layer = std::max(largest_layer, weights.common + weights.experts);
      const Kept kept = kept_by(of_stage, part.run);
      for (auto k = static_cast<std::int64_t>(std::llround(part.count)); k > 0; --k) {
        const bool is_made_again = makes_all_again || left > 0;
        if (left > 0) --left;
        const double again = is_made_again ? times[part.run].forward.total()
                                           : strategy::seconds_of(own.recomputed_modules, times[part.run].modules);
        Layer layer =
            layer_of(fmt::format("layer{}", result.spec.layers.size()), times[part.run], again + offload / count);
        const double activation = is_made_again ? kept.input : kept.kept;
        layer.activation = bytes(activation * with_fragments);
        if (again > 0) layer.weight_gradient_input = bytes((kept.all - activation) * with_fragments);
        layer.weights = states(of_stage, weights);
        layer.output = message;
        result.spec.layers.push_back(std::move(layer));
        result.stage_of_layer.push_back(stage);
        beside[stage].common -= weights.common;
        beside[stage].experts -= weights.experts;
      }
    }
  }
  add_beside(s, beside, result);
  const Strategy last_strategy = on_own_mesh(strategy, strategy.stages() - 1);
  const Setting of_last{model, machines, run, last_strategy, profile};
  Layer head = layer_of("head", strategy::head_time(s), 0);
  // On a mesh of one stage they have gone with its first layer.
  if (strategy.pipeline > 1) head.weights = states(of_last, beside.back());
  const StepMemory last = strategy::stage_memory(of_last, strategy.stages() - 1, {}, {});
  head.activation = bytes(with_fragments * static_cast<double>(last.buffers.value()));
  result.spec.layers.push_back(std::move(head));
  result.stage_of_layer.push_back(strategy.stages() - 1);
  result.stage_of_looped_layer = looped_stages(model, strategy);
  result.spec.name = model.name.empty() ? "strategy" : model.name;
  result.spec.training.microbatches = static_cast<std::uint32_t>(strategy::microbatches(run, strategy));

  double outside = 0;
  double gathered = 0;
  const auto held = strategy::held_weights(s);
  for (std::uint32_t stage = 0; stage < held.size(); ++stage) {
    const Strategy own = on_own_mesh(strategy, stage);
    outside = std::max(outside, strategy::end_seconds({model, machines, run, own, profile}, held[stage]));
  }
  if (strategy.sharding == Sharding::kWeights) {
    outside += strategy::sharded_weights_seconds(s, times);
    gathered = strategy::kGatheredBytes * largest_layer;
  }
  result.outside = nanoseconds(outside);
  const double room = static_cast<double>(machines.device.memory.value()) -
                      static_cast<double>(profile.reserve.value()) - gathered * with_fragments;
  result.cluster = uniform_cluster(strategy.stages(), {"compute"}, bytes(std::max(0.0, room)),
                                   nanoseconds(link.latency), static_cast<std::int64_t>(link.bandwidth));
  for (const Device& device : result.cluster.devices()) result.spec.devices.push_back(device.name);
  return result;
}

PipelineSpec with_joined_stages(const PipelineSpec& spec) {
  PipelineSpec result = spec;
  result.layers.clear();
  result.stage_of_layer.clear();
  for (std::size_t i = 0; i < spec.layers.size(); ++i) {
    if (result.layers.size() == spec.stage_of_layer[i]) {
      result.layers.push_back(spec.layers[i]);
      result.layers.back().name = fmt::format("stage{}", spec.stage_of_layer[i]);
      result.stage_of_layer.push_back(spec.stage_of_layer[i]);
    } else {
      append(result.layers.back(), spec.layers[i]);
    }
  }
  return result;
}

}  // namespace opweave
