#include "layouts/derive.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "layouts/parameter_movements.h"
#include "layouts/tensor_movements.h"
#include "opweave/error.h"

namespace opweave {
namespace {

class LayoutDerivation {
 public:
  LayoutDerivation(const LayoutProblem& problem, const LayoutSelection& selection)
      : problem_(problem),
        selection_(selection),
        graph_(problem.graph().graph),
        operators_(graph_.operators()),
        tensors_(graph_.tensors()),
        parameters_(graph_.parameters()),
        is_named_(tensors_.size(), false) {}

  DerivedGraph derive() {
    for (std::size_t t = 0; t < tensors_.size(); ++t) result_.tensor_of.emplace_back(t);
    for (std::size_t i = 0; i < graph_.operators().size(); ++i) choose(OperatorId(i));
    for (std::size_t i = 0; i < graph_.operators().size(); ++i) read_inputs(OperatorId(i));
    for (std::size_t p = 0; p < parameters_.size(); ++p) {
      const ParameterParts parts = problem_.parts(ParameterId(p), selection_);
      parameters_[p].weights = resident_bytes(graph_.parameters()[p], problem_.settings().training, parts);
    }
    add_parameter_movements();
    for (const Release& release : releases_) {
      Operator op = operator_on(release.devices, Duration());
      op.name = operators_[release.movement.index()].name + ", release";
      op.streams = {std::string(kReleaseStream)};
      op.phase = operators_[release.movement.index()].phase;
      op.inputs = {release.tensor};
      op.after = {release.movement};
      result_.released_by.push_back(static_cast<std::uint32_t>(release.movement.index() - graph_.operators().size()));
      operators_.push_back(std::move(op));
    }
    Training training = problem_.settings().training;
    training.gradient_bytes_per_weight_byte = 0;  // in the bytes of the parameters already
    training.optimizer_bytes_per_weight_byte = 0;
    result_.graph = ComputationGraph::create(graph_.name(), std::move(operators_), std::move(tensors_),
                                             std::move(parameters_), training);
    return std::move(result_);
  }

 private:
  struct Version {
    TensorId tensor;
    std::optional<OperatorId> maker;
  };
  struct Release {
    std::vector<DeviceId> devices;
    TensorId tensor;
    OperatorId movement;
  };

  [[nodiscard]] std::string names(const std::vector<DeviceId>& devices) const {
    std::string text;
    for (const DeviceId device : devices) text += (text.empty() ? "" : "+") + problem_.cluster().at(device).name;
    return text;
  }

  [[nodiscard]] Operator operator_on(const std::vector<DeviceId>& devices, Duration duration) const {
    Operator op;
    op.streams = {problem_.graph().movement_stream};
    ModeSpec mode{{}, duration, Bytes()};
    for (const DeviceId device : devices) mode.devices.push_back(problem_.cluster().at(device).name);
    op.modes.push_back(std::move(mode));
    return op;
  }

  /// An operator in its option alone, and the sizes of what it makes.
  void choose(OperatorId id) {
    Operator& op = operators_[id.index()];
    const LayoutOption& option = problem_.option(id, selection_);
    op.modes = operator_on(option.devices, option.duration).modes;
    op.modes.front().workspace = option.workspace;
    op.colocation.clear();  // one choice, one set of devices
    for (std::size_t k = 0; k < op.outputs.size(); ++k) {
      Tensor& tensor = tensors_[op.outputs[k].index()];
      tensor.size = bytes_per_device(tensor.size, option.outputs[k], option.devices.size());
    }
  }

  void read_inputs(OperatorId id) {
    const LayoutOption& option = problem_.option(id, selection_);
    for (std::size_t k = 0; k < option.inputs.size(); ++k) {
      const TensorId original = graph_.at(id).inputs[k];
      const Holding wanted = normal(option.devices, option.inputs[k]);
      operators_[id.index()].inputs[k] =
          graph_.at(original).producer ? moved(original, wanted) : given(original, wanted);
    }
  }

  TensorId add_tensor(std::string name, Bytes size, TensorId original) {
    tensors_.push_back({std::move(name), size, {}, {}, {}});
    result_.tensor_of.push_back(original);
    return TensorId(tensors_.size() - 1);
  }

  /// An input of the graph, which is there in every layout.
  TensorId given(TensorId original, const Holding& wanted) {
    const auto [entry, is_new] = versions_.try_emplace({original, wanted});
    if (!is_new) return entry->second.tensor;
    const Tensor& tensor = graph_.at(original);
    const Bytes size = bytes_per_device(tensor.size, wanted.layout, wanted.devices.size());
    if (!is_named_[original.index()]) {
      is_named_[original.index()] = true;
      tensors_[original.index()].size = size;
      entry->second.tensor = original;
    } else {
      entry->second.tensor = add_tensor(
          fmt::format("{} as {} on {}", tensor.name, to_string(wanted.layout), names(wanted.devices)), size, original);
    }
    return entry->second.tensor;
  }

  /// What an operator makes, as a reader wants it: by at most one movement for each layout and gang.
  TensorId moved(TensorId original, const Holding& wanted) {
    const Tensor& tensor = graph_.at(original);
    const LayoutOption& made = problem_.option(*tensor.producer, selection_);
    const std::vector<TensorId>& outputs = graph_.at(*tensor.producer).outputs;
    const auto position = std::ranges::find(outputs, original) - outputs.begin();
    Holding held = normal(made.devices, made.outputs[static_cast<std::size_t>(position)]);
    Version version{original, *tensor.producer};
    for (;;) {
      const MovementStep step = next_step(problem_.cluster(), tensor, held, wanted);
      if (step.is_free) return version.tensor;
      const auto [entry, is_new] = versions_.try_emplace({original, step.result});
      if (is_new) entry->second = move(original, version, held, step);
      version = entry->second;
      held = step.result;
    }
  }

  Version move(TensorId original, const Version& from, const Holding& held, const MovementStep& step) {
    const Operator& maker = graph_.at(*graph_.at(original).producer);
    std::vector<DeviceId> devices = held.devices;
    devices.insert(devices.end(), step.result.devices.begin(), step.result.devices.end());
    std::ranges::sort(devices);
    devices.erase(std::ranges::unique(devices).begin(), devices.end());
    const std::string result = fmt::format("{} in {} on {}", graph_.at(original).name, to_string(step.result.layout),
                                           names(step.result.devices));
    Operator op = operator_on(devices, step.duration);
    op.name = fmt::format("{}: {}", result, to_string(step.kind));
    op.kind = to_string(step.kind);
    op.layer = maker.layer;
    op.phase = maker.phase;
    if (op.phase == Phase::kWeightGradient || op.phase == Phase::kBackward) op.phase = Phase::kInputGradient;
    const Bytes size = bytes_per_device(graph_.at(original).size, step.result.layout, step.result.devices.size());
    const TensorId made = add_tensor(result, size, original);
    op.outputs = {made};
    const OperatorId id(operators_.size());
    if (devices == held.devices) {
      op.inputs = {from.tensor};
    } else {
      // What it reads is not on all of its devices: the end of its maker is awaited, and its stay there ends with a
      // release behind the movement.
      op.after = {*from.maker};
      releases_.push_back({held.devices, from.tensor, id});
    }
    MovementKey key;
    key.tensor = original;
    key.target = step.result.devices;
    key.layout = step.result.layout;
    result_.movements.push_back({std::move(key), step.kind, std::move(devices), {}, {}});
    operators_.push_back(std::move(op));
    return {made, id};
  }

  void add_parameter_movements() {
    for (ParameterMovement& movement : parameter_movements(problem_, selection_)) {
      const Parameter& parameter = graph_.at(movement.movement.key.parameter);
      Operator op = operator_on(movement.movement.devices, movement.duration);
      op.name = fmt::format("{} {}: {}", parameter.name, to_string(movement.movement.key.moved),
                            to_string(movement.movement.kind));
      if (movement.movement.key.op) op.name += " behind " + graph_.at(*movement.movement.key.op).name;
      op.kind = to_string(movement.movement.kind);
      op.phase = movement.phase;
      op.parameters = {movement.movement.key.parameter};
      op.after = movement.after;
      const OperatorId id(operators_.size());
      if (movement.value) {
        const TensorId value = add_tensor(op.name + " value", *movement.value, TensorId());
        const bool is_gradient = movement.movement.key.moved == Moved::kGradient;
        (is_gradient ? op.inputs : op.outputs) = {value};
        for (const OperatorId other : movement.others) {
          Operator& one = operators_[other.index()];
          (is_gradient ? one.outputs : one.inputs).push_back(value);
        }
      } else {
        for (const OperatorId other : movement.others) operators_[other.index()].after.push_back(id);
      }
      result_.movements.push_back(std::move(movement.movement));
      operators_.push_back(std::move(op));
    }
  }

  const LayoutProblem& problem_;
  const LayoutSelection& selection_;
  const ComputationGraph& graph_;
  std::vector<Operator> operators_;
  std::vector<Tensor> tensors_;
  std::vector<Parameter> parameters_;
  std::vector<bool> is_named_;  ///< by input of the graph: it stands for one of its layouts
  std::map<std::pair<TensorId, Holding>, Version> versions_;
  std::vector<Release> releases_;
  DerivedGraph result_;
};

std::int64_t scaled(Bytes weights, double factor) {
  return static_cast<std::int64_t>(std::ceil(static_cast<double>(weights.value()) * factor));
}

std::int64_t part(std::int64_t bytes, std::uint32_t parts) { return (bytes + parts - 1) / parts; }

}  // namespace

Bytes resident_bytes(const Parameter& parameter, const Training& training, const ParameterParts& parts) {
  return Bytes(part(parameter.weights.value(), parts.weights) +
               part(scaled(parameter.weights, training.gradient_bytes_per_weight_byte), parts.gradients) +
               part(scaled(parameter.weights, training.optimizer_bytes_per_weight_byte), parts.optimizer));
}

Cluster with_release_stream(const Cluster& cluster) {
  ClusterParts parts = cluster.parts();
  for (Device& device : parts.devices) {
    if (std::ranges::find(device.streams, kReleaseStream) != device.streams.end()) {
      throw InputError(fmt::format("device \"{}\" has a stream \"{}\", a name that layouts use themselves", device.name,
                                   kReleaseStream));
    }
    device.streams.emplace_back(kReleaseStream);
  }
  return Cluster::create(std::move(parts));
}

DerivedGraph derive_layouts(const LayoutProblem& problem, const LayoutSelection& selection) {
  return LayoutDerivation(problem, selection).derive();
}

}  // namespace opweave
