// The graph of one microbatch of a pipeline, from the costs of its layers.
#include <algorithm>
#include <set>

#include "opweave/error.h"
#include "opweave/pipeline.h"

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
  explicit Builder(const PipelineSpec& spec) : spec_(spec), stages_(checked_stages(spec)) {
    check_shape(spec, stages_.back() + 1);
    for (const Layer& layer : spec.layers) {
      parameters_.push_back({layer.name + ".weights", layer.weights});
    }
    kept_.resize(spec.layers.size());
  }

  ComputationGraph build() {
    for (std::size_t layer = 0; layer < spec_.layers.size(); ++layer) add_forward(layer);
    for (std::size_t layer = spec_.layers.size(); layer-- > 0;) add_backward(layer);
    return ComputationGraph::create(spec_.name, std::move(operators_), std::move(tensors_), std::move(parameters_),
                                    spec_.training);
  }

 private:
  /// What the operator that runs last on the way of a microbatch hands to the next one. The tensor
  /// is made when somebody takes it, so that no tensor is without a consumer.
  struct Handover {
    std::optional<std::size_t> producer;
    std::string name;
    Bytes size;
    std::optional<TensorId> tensor;
  };
  /// Tensors that a layer's forward leaves behind, by what they wait for.
  struct Kept {
    std::vector<TensorId> until_weight_gradients;
    std::vector<TensorId> until_input_gradients;
  };

  TensorId add_tensor(std::string name, Bytes size) {
    tensors_.push_back({std::move(name), size, std::nullopt, {}});
    return TensorId(tensors_.size() - 1);
  }

  std::size_t add_operator(std::size_t layer_index, const LayerOperator& op, Phase phase, Duration duration) {
    const Layer& layer = spec_.layers[layer_index];
    Operator result;
    result.name = layer.name + "." + op.name + "." + std::string(to_string(phase));
    result.kind = op.kind;
    result.phase = phase;
    result.streams = op.streams;
    result.durations = {{"", duration}};
    result.parameters = {ParameterId(layer_index)};
    result.stage = StageId(stages_[layer_index]);
    result.layer = layer.name;
    if (spec_.shape != PipelineShape::kFree) {
      for (std::uint32_t replica = 0; replica < spec_.training.replicas; ++replica) {
        const std::uint32_t device = device_of_stage(spec_.shape, stages_[layer_index], replica,
                                                     static_cast<std::uint32_t>(spec_.devices.size()));
        result.devices.push_back({spec_.devices[device]});
      }
    }
    operators_.push_back(std::move(result));
    return operators_.size() - 1;
  }

  void take_handover(std::size_t op) {
    if (!handover_.producer) return;
    if (!handover_.tensor) {
      handover_.tensor = add_tensor(handover_.name, handover_.size);
      operators_[*handover_.producer].outputs.push_back(*handover_.tensor);
    }
    operators_[op].inputs.push_back(*handover_.tensor);
  }

  void hand_over(std::size_t op, Bytes size) { handover_ = {op, operators_[op].name + ".out", size, std::nullopt}; }

  void add_forward(std::size_t layer_index) {
    const Layer& layer = spec_.layers[layer_index];
    const auto last = std::find_if(layer.operators.rbegin(), layer.operators.rend(),
                                   [](const LayerOperator& op) { return op.forward.has_value(); });
    if (last == layer.operators.rend()) return;
    // The last layer's output goes nowhere: the loss is part of the layer.
    const Bytes output = layer_index + 1 < spec_.layers.size() ? layer.output : Bytes(0);
    const std::size_t first = operators_.size();
    for (const LayerOperator& op : layer.operators) {
      if (!op.forward) continue;
      const std::size_t index = add_operator(layer_index, op, Phase::kForward, *op.forward);
      take_handover(index);
      hand_over(index, &op == &*last ? output : Bytes(0));
    }

    const auto any_has = [&](auto member) {
      return std::any_of(layer.operators.begin(), layer.operators.end(),
                         [member](const LayerOperator& op) { return (op.*member).has_value(); });
    };
    const bool has_input_gradient = any_has(&LayerOperator::input_gradient);
    const auto keep = [&](const char* name, Bytes size, std::vector<TensorId>& list) {
      if (size == Bytes(0)) return;
      list.push_back(add_tensor(layer.name + name, size));
      operators_[first].outputs.push_back(list.back());
    };
    Kept& kept = kept_[layer_index];
    if (any_has(&LayerOperator::weight_gradient)) {
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
    const Bytes gradient = layer_index > 0 ? spec_.layers[layer_index - 1].output : Bytes(0);
    for (auto op = layer.operators.rbegin(); op != layer.operators.rend(); ++op) {
      std::optional<std::size_t> input_gradient;
      if (op->input_gradient) {
        input_gradient = add_operator(layer_index, *op, Phase::kInputGradient, *op->input_gradient);
        take_handover(*input_gradient);
        hand_over(*input_gradient, &*op == &*last ? gradient : Bytes(0));
        if (&*op == &*last) {
          for (TensorId tensor : kept.until_input_gradients) operators_[*input_gradient].inputs.push_back(tensor);
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
        take_handover(weight_gradient);
      }
    }
  }

  const PipelineSpec& spec_;
  std::vector<std::uint32_t> stages_;
  std::vector<Operator> operators_;
  std::vector<Tensor> tensors_;
  std::vector<Parameter> parameters_;
  std::vector<Kept> kept_;  // by layer
  Handover handover_;
};

}  // namespace

ComputationGraph build_pipeline(const PipelineSpec& spec) { return Builder(spec).build(); }

}  // namespace opweave
