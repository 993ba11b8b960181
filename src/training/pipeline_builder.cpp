// The graph of one microbatch of a pipeline, from the costs of its layers.
#include <algorithm>
#include <set>

#include "opweave/error.h"
#include "opweave/pipeline.h"
#include "training/layer_graph.h"
#include "training/unequal_microbatches.h"

namespace opweave {

namespace {

std::string number(std::size_t value) { return std::to_string(value); }

/// The stage of every layer, checked, and their count.
std::vector<std::uint32_t> checked_stages(const PipelineSpec& spec) {
  const std::string where = "pipeline \"" + spec.name + "\": ";
  if (spec.layers.empty()) throw InputError(where + "no layers, expected at least 1");
  if (spec.stage_of_layer.empty()) {
    const auto count = static_cast<std::uint32_t>(spec.layers.size());
    return even_stages(count, count);
  }
  if (spec.stage_of_layer.size() != spec.layers.size()) {
    throw InputError(where + "stage_of_layer has " + number(spec.stage_of_layer.size()) + " entries for " +
                     number(spec.layers.size()) + " layers");
  }
  if (spec.stages) {
    for (std::size_t layer = 0; layer < spec.stage_of_layer.size(); ++layer) {
      const std::uint32_t stage = spec.stage_of_layer[layer];
      const std::uint32_t least = layer == 0 ? 0 : spec.stage_of_layer[layer - 1];
      if (stage >= least && stage < *spec.stages) continue;
      throw InputError(where + "layer " + number(layer) + " is in stage " + number(stage) + ", expected " +
                       number(least) + " to " + number(*spec.stages - 1));
    }
    return spec.stage_of_layer;
  }
  std::uint32_t expected = 0;
  for (std::size_t layer = 0; layer < spec.stage_of_layer.size(); ++layer) {
    const std::uint32_t stage = spec.stage_of_layer[layer];
    if (stage != expected && (layer == 0 || stage != expected + 1)) {
      throw InputError(where + "layer " + number(layer) + " is in stage " + number(stage) + ", expected " +
                       number(expected) + (layer == 0 ? "" : " or " + number(expected + 1)));
    }
    expected = stage;
  }
  return spec.stage_of_layer;
}

void check_shape(const PipelineSpec& spec, std::uint32_t stages) {
  const std::string where = "pipeline \"" + spec.name + "\": shape " + std::string(to_string(spec.shape)) + " ";
  const std::uint32_t replicas = spec.shape == PipelineShape::kTwoWay ? 2 : 1;
  if (spec.shape == PipelineShape::kFree) return;
  if (spec.training.replicas != replicas) {
    throw InputError(where + "needs " + number(replicas) + " replicas, training has " + number(spec.training.replicas));
  }
  const std::size_t devices = spec.devices.size();
  if (devices == 0) throw InputError(where + "needs devices, none given");
  if (std::set<std::string>(spec.devices.begin(), spec.devices.end()).size() != devices) {
    throw InputError(where + "needs different devices, one is named twice");
  }
  if (spec.shape == PipelineShape::kLoop) {
    if (stages % devices == 0) return;
    throw InputError(where + "needs a multiple of " + number(devices) + " stages for " + number(devices) +
                     " devices, got " + number(stages));
  }
  const std::size_t expected = spec.shape == PipelineShape::kV ? 2 * devices : devices;
  if (stages != expected) {
    throw InputError(where + "needs " + number(expected) + " stages for " + number(devices) + " devices, got " +
                     number(stages));
  }
}

class Builder {
 public:
  explicit Builder(const PipelineSpec& spec)
      : spec_(spec),
        stages_(checked_stages(spec)),
        layers_(spec),
        kept_(spec.layers.size()),
        forward_in_(spec.layers.size()),
        gradients_in_(spec.layers.size()) {
    check_shape(spec, spec.stages.value_or(stages_.back() + 1));
    for (const Layer& layer : spec.layers) {
      parameters_.push_back({layer.name + ".weights", layer.weights});
    }
  }

  ComputationGraph build() {
    for (std::size_t layer = 0; layer < spec_.layers.size(); ++layer) add_forward(layer);
    for (std::size_t layer = spec_.layers.size(); layer-- > 0;) add_backward(layer);
    return ComputationGraph::create(spec_.name, std::move(operators_), std::move(tensors_), std::move(parameters_),
                                    spec_.training);
  }

 private:
  /// What an operator on the way of a microbatch hands on. The tensor is made when somebody takes it, so
  /// that no tensor is without a consumer.
  struct Handover {
    std::size_t producer;
    std::string name;
    Bytes size;
    std::optional<TensorId> tensor;
  };
  using Handovers = std::vector<std::size_t>;  // indices of handovers_
  /// Tensors that a layer's forward leaves behind, by what they wait for.
  struct Kept {
    std::vector<TensorId> until_weight_gradients;
    std::vector<TensorId> until_input_gradients;
  };

  TensorId add_tensor(std::string name, Bytes size) {
    tensors_.push_back({std::move(name), size, std::nullopt, {}});
    return TensorId(tensors_.size() - 1);
  }

  std::size_t add_operator(std::size_t layer_index, const LayerOperator& op, Phase phase, const LayerTime& time) {
    const Layer& layer = spec_.layers[layer_index];
    Operator result;
    result.name = layer.name + "." + op.name + "." + std::string(to_string(phase));
    result.kind = op.kind;
    result.phase = phase;
    result.streams = op.streams;
    result.durations = time.durations;
    result.parameters = {ParameterId(layer_index)};
    result.stage = StageId(stages_[layer_index]);
    result.layer = layer.name;
    result.devices = devices_of(layer_index);
    operators_.push_back(std::move(result));
    return operators_.size() - 1;
  }

  /// Per replica the devices where a layer may run; empty = any.
  [[nodiscard]] std::vector<std::vector<std::string>> devices_of(std::size_t layer_index) const {
    std::vector<std::vector<std::string>> result;
    if (spec_.shape != PipelineShape::kFree) {
      for (std::uint32_t replica = 0; replica < spec_.training.replicas; ++replica) {
        const std::uint32_t device = device_of_stage(spec_.shape, stages_[layer_index], replica,
                                                     static_cast<std::uint32_t>(spec_.devices.size()));
        result.push_back({spec_.devices[device]});
      }
      return result;
    }
    if (layers_.devices(layer_index).empty()) return result;
    std::vector<std::string> names;
    for (const std::uint32_t device : layers_.devices(layer_index)) names.push_back(spec_.devices[device]);
    result.assign(spec_.training.replicas, names);
    return result;
  }

  void take(std::size_t op, const Handovers& handovers) {
    for (const std::size_t index : handovers) {
      Handover& handover = handovers_[index];
      if (!handover.tensor) {
        handover.tensor = add_tensor(handover.name, handover.size);
        operators_[handover.producer].outputs.push_back(*handover.tensor);
      }
      std::vector<TensorId>& inputs = operators_[op].inputs;
      // Layers without F or I can lead one tensor to a taker on two ways.
      if (std::ranges::find(inputs, *handover.tensor) == inputs.end()) inputs.push_back(*handover.tensor);
    }
  }

  std::size_t hand_over(std::size_t op, const std::string& suffix, Bytes size) {
    handovers_.push_back({op, operators_[op].name + suffix, size, std::nullopt});
    return handovers_.size() - 1;
  }

  void add_forward(std::size_t layer_index) {
    const Layer& layer = spec_.layers[layer_index];
    Handovers current = forward_in_[layer_index];
    std::optional<std::size_t> first;
    std::size_t last = 0;
    for (const LayerOperator& op : layer.operators) {
      if (!op.forward) continue;
      if (first) current = {hand_over(last, ".out", Bytes(0))};
      last = add_operator(layer_index, op, Phase::kForward, *op.forward);
      take(last, current);
      if (!first) first = last;
    }
    if (!first) {
      hand_on(layer_index, current);
      return;
    }
    hand_on_output(layer_index, last);
    keep_for_backward(layer_index, *first);
  }

  /// A layer without F: what it was handed goes to its takers, or turns round where there are none.
  void hand_on(std::size_t layer_index, const Handovers& handovers) {
    for (const std::size_t edge : layers_.out_of(layer_index)) append(forward_in_[layers_.edge(edge).to], handovers);
    if (layers_.out_of(layer_index).empty()) gradients_in_[layer_index] = handovers;
  }

  void hand_on_output(std::size_t layer_index, std::size_t op) {
    const Layer& layer = spec_.layers[layer_index];
    std::optional<std::size_t> shared;
    for (const std::size_t index : layers_.out_of(layer_index)) {
      const detail::LayerEdge& edge = layers_.edge(index);
      if (edge.own_size) {
        const std::string suffix = ".out." + spec_.layers[edge.to].name;
        forward_in_[edge.to].push_back(hand_over(op, suffix, *edge.own_size));
        continue;
      }
      if (!shared) shared = hand_over(op, ".out", layer.output);
      forward_in_[edge.to].push_back(*shared);
    }
    // The output of a last layer goes nowhere: the loss is part of the layer. It only lets the backward begin.
    if (layers_.out_of(layer_index).empty()) gradients_in_[layer_index] = {hand_over(op, ".out", Bytes(0))};
  }

  static bool any_has(const Layer& layer, std::optional<LayerTime> LayerOperator::*time) {
    return std::ranges::any_of(layer.operators, [time](const LayerOperator& op) { return (op.*time).has_value(); });
  }

  void keep_for_backward(std::size_t layer_index, std::size_t first) {
    const Layer& layer = spec_.layers[layer_index];
    const bool has_input_gradient = any_has(layer, &LayerOperator::input_gradient);
    const auto keep = [&](const char* name, Bytes size, std::vector<TensorId>& list) {
      if (size == Bytes(0)) return;
      list.push_back(add_tensor(layer.name + name, size));
      operators_[first].outputs.push_back(list.back());
    };
    Kept& kept = kept_[layer_index];
    if (any_has(layer, &LayerOperator::weight_gradient)) {
      keep(".activation", layer.activation, kept.until_weight_gradients);
    } else if (has_input_gradient) {
      keep(".activation", layer.activation, kept.until_input_gradients);
    }
    if (has_input_gradient) {
      keep(".activation_until_input_gradient", layer.activation_until_input_gradient, kept.until_input_gradients);
    }
  }

  void add_backward(std::size_t layer_index) {
    const Layer& layer = spec_.layers[layer_index];
    const Kept& kept = kept_[layer_index];
    const auto last = std::find_if(layer.operators.begin(), layer.operators.end(),
                                   [](const LayerOperator& op) { return op.input_gradient.has_value(); });
    Handovers current = gradients_in_[layer_index];
    if (last == layer.operators.end()) pass_gradients(layer_index, current);
    for (auto op = layer.operators.rbegin(); op != layer.operators.rend(); ++op) {
      std::optional<std::size_t> input_gradient;
      if (op->input_gradient) {
        input_gradient = add_operator(layer_index, *op, Phase::kInputGradient, *op->input_gradient);
        take(*input_gradient, current);
        if (&*op == &*last) {
          current = give_gradients(layer_index, *input_gradient);
          for (TensorId tensor : kept.until_input_gradients) operators_[*input_gradient].inputs.push_back(tensor);
        } else {
          current = {hand_over(*input_gradient, ".out", Bytes(0))};
        }
      }
      if (!op->weight_gradient) continue;
      const std::size_t weight_gradient = add_operator(layer_index, *op, Phase::kWeightGradient, *op->weight_gradient);
      for (TensorId tensor : kept.until_weight_gradients) operators_[weight_gradient].inputs.push_back(tensor);
      if (input_gradient) {
        const TensorId tensor = add_tensor(operators_[weight_gradient].name + ".input", layer.weight_gradient_input);
        operators_[*input_gradient].outputs.push_back(tensor);
        operators_[weight_gradient].inputs.push_back(tensor);
      } else {
        take(weight_gradient, current);
      }
    }
  }

  /// A tensor for each layer that this one took from, as large as what it took.
  Handovers give_gradients(std::size_t layer_index, std::size_t op) {
    const std::vector<std::size_t>& into = layers_.into(layer_index);
    if (into.empty()) return {hand_over(op, ".out", Bytes(0))};
    Handovers result;
    for (const std::size_t index : into) {
      const detail::LayerEdge& edge = layers_.edge(index);
      const Layer& giver = spec_.layers[edge.from];
      result.push_back(
          hand_over(op, into.size() == 1 ? ".out" : ".out." + giver.name, edge.own_size.value_or(giver.output)));
      gradients_in_[edge.from].push_back(result.back());
    }
    return result;
  }

  /// A layer without I: the gradients that reach it go on to those it took from. Where the backward begins
  /// in it, its last F makes them (a loss whose gradient costs nothing).
  void pass_gradients(std::size_t layer_index, const Handovers& handovers) {
    const bool begins =
        layers_.out_of(layer_index).empty() && any_has(spec_.layers[layer_index], &LayerOperator::forward);
    for (const std::size_t index : layers_.into(layer_index)) {
      const detail::LayerEdge& edge = layers_.edge(index);
      if (!begins) {
        append(gradients_in_[edge.from], handovers);
        continue;
      }
      const Layer& giver = spec_.layers[edge.from];
      gradients_in_[edge.from].push_back(hand_over(handovers_[handovers.front()].producer, ".gradient." + giver.name,
                                                   edge.own_size.value_or(giver.output)));
    }
  }

  static void append(Handovers& target, const Handovers& more) {
    target.insert(target.end(), more.begin(), more.end());
  }

  const PipelineSpec& spec_;
  std::vector<std::uint32_t> stages_;
  detail::LayerGraph layers_;
  std::vector<Operator> operators_;
  std::vector<Tensor> tensors_;
  std::vector<Parameter> parameters_;
  std::vector<Handover> handovers_;
  std::vector<Kept> kept_;               // by layer
  std::vector<Handovers> forward_in_;    // by layer: what its F takes
  std::vector<Handovers> gradients_in_;  // by layer: what its I takes
};

}  // namespace

ComputationGraph build_pipeline(const PipelineSpec& spec) {
  ComputationGraph one = Builder(spec).build();
  return spec.microbatch_scales.empty() ? one : detail::unequal_microbatches(one, spec);
}

}  // namespace opweave
