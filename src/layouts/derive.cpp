#include "layouts/derive.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "core/units.h"
#include "layouts/movement_units.h"
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
        parameters_(graph_.parameters()),
        ways_(problem),
        versions_(graph_.tensors().size()) {
    // Room for a movement and its release for each tensor that is read: to move operators that are there takes longer
    // than to make them.
    std::size_t read = 0;
    for (const Operator& op : graph_.operators()) read += op.inputs.size();
    operators_.reserve(graph_.operators().size() + 2 * read);
    operators_ = graph_.operators();
    tensors_.reserve(graph_.tensors().size() + read);
    tensors_ = graph_.tensors();
    chosen_.reserve(graph_.operators().size());
    for (std::size_t i = 0; i < graph_.operators().size(); ++i) {
      const OperatorId op(i);
      chosen_.push_back({&problem.option(op, selection), problem.alternative(op, selection).gang});
    }
  }

  DerivedGraph derive() {
    for (std::size_t t = 0; t < tensors_.size(); ++t) result_.tensor_of.emplace_back(t);
    for (std::size_t i = 0; i < graph_.operators().size(); ++i) choose(OperatorId(i));
    for (std::size_t i = 0; i < graph_.operators().size(); ++i) read_inputs(OperatorId(i));
    if (problem_.chooses_modes()) {
      require_apart();
      unit_of_ = units_of(graph_);
      give_units(graph_, unit_of_, moves_, operators_);
      for (const MovedTensor& move : moves_) allow_modes(move);
    }
    for (std::size_t p = 0; p < parameters_.size(); ++p) {
      const ParameterParts parts = problem_.parts(ParameterId(p), selection_);
      parameters_[p].weights = resident_bytes(graph_.parameters()[p], problem_.settings().training, parts);
    }
    add_parameter_movements();
    for (const MovedTensor& move : moves_) add_helpers(move);
    Training training = problem_.settings().training;
    training.gradient_bytes_per_weight_byte = 0;  // in the bytes of the parameters already
    training.optimizer_bytes_per_weight_byte = 0;
    result_.graph = ComputationGraph::create(graph_.name(), std::move(operators_), std::move(tensors_),
                                             std::move(parameters_), training);
    return std::move(result_);
  }

 private:
  struct Version {
    Holding form;
    TensorId tensor;
    std::optional<OperatorId> maker;
  };
  /// Of its devices; made once, since many movements go to few gangs.
  [[nodiscard]] const std::string& names(std::uint32_t gang) {
    if (names_.size() <= gang) names_.resize(gang + 1);
    std::string& text = names_[gang];
    if (!text.empty()) return text;
    for (const DeviceId device : ways_.gangs().at(gang)) {
      if (!text.empty()) text += '+';
      text += problem_.cluster().at(device).name;
    }
    return text;
  }

  [[nodiscard]] ModeSpec mode_on(const std::vector<DeviceId>& devices, Duration duration, Bytes workspace) const {
    ModeSpec mode{{}, duration, workspace};
    mode.devices.reserve(devices.size());
    for (const DeviceId device : devices) mode.devices.push_back(problem_.cluster().at(device).name);
    return mode;
  }

  [[nodiscard]] Operator operator_on(const std::vector<DeviceId>& devices, Duration duration) const {
    Operator op;
    op.streams = {problem_.graph().movement_stream};
    op.modes.push_back(mode_on(devices, duration, Bytes()));
    return op;
  }

  /// An operator in its option alone, and the sizes of what it makes.
  void choose(OperatorId id) {
    Operator& op = operators_[id.index()];
    const LayoutOption& option = *chosen_[id.index()].option;
    op.modes = {mode_on(option.devices, option.duration, option.workspace)};
    op.colocation.clear();  // one choice, one set of devices
    for (std::size_t k = 0; k < op.outputs.size(); ++k) {
      Tensor& tensor = tensors_[op.outputs[k].index()];
      tensor.size = bytes_per_device(tensor.size, option.outputs[k], option.devices.size());
    }
  }

  void read_inputs(OperatorId id) {
    const LayoutOption& option = *chosen_[id.index()].option;
    for (std::size_t k = 0; k < option.inputs.size(); ++k) {
      const TensorId original = graph_.at(id).inputs[k];
      const Holding wanted = ways_.normal(chosen_[id.index()].gang, option.inputs[k]);
      operators_[id.index()].inputs[k] =
          graph_.at(original).producer ? moved(original, wanted, id) : given(original, wanted);
    }
  }

  TensorId add_tensor(std::string name, Bytes size, TensorId original) {
    tensors_.push_back({std::move(name), size, {}, {}, {}});
    result_.tensor_of.push_back(original);
    return TensorId(tensors_.size() - 1);
  }

  [[nodiscard]] const Version* known(TensorId original, const Holding& form) const {
    const std::vector<Version>& versions = versions_[original.index()];
    const auto found = std::ranges::find(versions, form, &Version::form);
    return found == versions.end() ? nullptr : &*found;
  }

  /// An input of the graph, which is there in every layout. The first that is wanted has its name.
  TensorId given(TensorId original, const Holding& wanted) {
    if (const Version* version = known(original, wanted)) return version->tensor;
    const Tensor& tensor = graph_.at(original);
    const Bytes size = bytes_per_device(tensor.size, wanted.layout, ways_.gangs().at(wanted.gang).size());
    TensorId result = original;
    if (versions_[original.index()].empty()) {
      tensors_[original.index()].size = size;
    } else {
      result = add_tensor(fmt::format("{} as {} on {}", tensor.name, to_string(wanted.layout), names(wanted.gang)),
                          size, original);
    }
    versions_[original.index()].push_back({wanted, result, {}});
    return result;
  }

  /// What an operator makes, as a reader wants it: by at most one movement for each layout and gang.
  TensorId moved(TensorId original, const Holding& wanted, OperatorId reader) {
    const Tensor& tensor = graph_.at(original);
    const LayoutOption& made = *chosen_[tensor.producer->index()].option;
    const std::vector<TensorId>& outputs = graph_.at(*tensor.producer).outputs;
    const auto position = std::ranges::find(outputs, original) - outputs.begin();
    Version version{
        ways_.normal(chosen_[tensor.producer->index()].gang, made.outputs[static_cast<std::size_t>(position)]),
        original, tensor.producer};
    const TensorWay& way = ways_.between(version.form, wanted);
    require_movements(way, tensor, version.form.layout);
    for (const MovementStep& step : way.steps) {
      const Version* next = known(original, step.result);
      version = next != nullptr ? *next : move(original, version, step);
      if (!problem_.chooses_modes()) continue;  // nobody asks
      moves_[version.maker->index() - graph_.operators().size()].readers.push_back(reader);
    }
    return version.tensor;
  }

  static void require_movements(const TensorWay& way, const Tensor& tensor, const TensorLayout& held) {
    if (way.fault == TensorWay::Fault::kNoPartialSums) {
      throw InputError(fmt::format(
          "tensor \"{}\" is wanted in layout P, but made in {} or elsewhere: no movement makes partial sums",
          tensor.name, to_string(held)));
    }
    if (way.fault == TensorWay::Fault::kNoRoute) {
      throw InputError(fmt::format("tensor \"{}\" has to move between devices that no route joins", tensor.name));
    }
  }

  Version move(TensorId original, const Version& from, const MovementStep& step) {
    const Tensor& tensor = graph_.at(original);
    const Operator& maker = graph_.at(*tensor.producer);
    const std::vector<DeviceId>& devices = ways_.gangs().at(step.devices);
    const std::vector<DeviceId>& target = ways_.gangs().at(step.result.gang);
    const std::string result =
        fmt::format("{} in {} on {}", tensor.name, to_string(step.result.layout), names(step.result.gang));
    Operator op = operator_on(devices, step.time.of(tensor.size));
    op.name = fmt::format("{}: {}", result, to_string(step.kind));
    op.kind = to_string(step.kind);
    op.layer = maker.layer;
    op.phase = maker.phase;
    if (op.phase == Phase::kWeightGradient || op.phase == Phase::kBackward) op.phase = Phase::kInputGradient;
    const Bytes size = bytes_per_device(tensor.size, step.result.layout, target.size());
    const TensorId made = add_tensor(result, size, original);
    op.outputs = {made};
    const OperatorId id(operators_.size());
    // What it reads may not be on all of its devices: then the end of its maker is awaited, and its stay there ends
    // with a release behind the movement.
    const bool is_read = step.devices == from.form.gang;
    if (is_read) {
      op.inputs = {from.tensor};
    } else {
      op.after = {*from.maker};
    }
    MovedTensor record{id, *tensor.producer, from.form.gang, from.tensor, made, !is_read, false, false, {}};
    record.gathers_in_place = step.kind == LayoutMovementKind::kAllGather && step.result.gang == from.form.gang;
    record.may_reach_host = step.result.gang == step.devices;
    moves_.push_back(std::move(record));
    MovementKey key;
    key.tensor = original;
    key.target = target;
    key.layout = step.result.layout;
    result_.movements.push_back({std::move(key), step.kind, devices, {}, {}});
    operators_.push_back(std::move(op));
    return versions_[original.index()].emplace_back(Version{step.result, made, id});
  }

  /// Where microbatches have different memory modes, tasks become operators, which know nothing of who must be apart.
  void require_apart() {
    std::map<std::pair<std::string, DeviceId>, std::size_t> first;
    for (std::size_t i = 0; i < graph_.operators().size(); ++i) {
      for (const std::string& text : operators_[i].anti_colocation) {
        for (const DeviceId device : chosen_[i].option->devices) {
          const std::size_t other = first.try_emplace({text, device}, i).first->second;
          if (other == i) continue;
          throw InputError(fmt::format("operators \"{}\" and \"{}\" are anti-colocated, but share device \"{}\"",
                                       operators_[other].name, operators_[i].name, problem_.cluster().at(device).name));
        }
      }
      operators_[i].anti_colocation.clear();
    }
  }

  /// What a movement of the forward pass makes may have the modes of its tensor; copies to hosts are made on all
  /// devices of the movement, so only where these are the ones that want it.
  void allow_modes(const MovedTensor& move) {
    if (operators_[move.movement.index()].phase != Phase::kForward) return;
    const TensorId original = result_.tensor_of[move.made.index()];
    MemoryModes modes = graph_.memory_modes(original, problem_.settings().memory_modes);
    modes.host = modes.host && move.may_reach_host;
    tensors_[move.made.index()].memory_modes = modes;
  }

  /// Where a movement is on more devices than what it reads, that is read in its place: by a release when it ends, and,
  /// where values may come back, when it starts, so that it waits for what came back.
  void add_helpers(const MovedTensor& move) {
    if (!move.is_between) return;
    const auto number = static_cast<std::uint32_t>(move.movement.index() - graph_.operators().size());
    for (const bool is_first : {true, false}) {
      if (is_first && !problem_.chooses_modes()) continue;
      Operator op = operator_on(ways_.gangs().at(move.held_on), Duration());
      Operator& movement = operators_[move.movement.index()];
      op.name = movement.name + (is_first ? ", take" : ", release");
      op.streams = {std::string(kReleaseStream)};
      op.phase = movement.phase;
      op.unit = movement.unit;
      if (problem_.chooses_modes()) op.layer = movement.layer;
      op.inputs = {move.read};
      if (is_first) {
        movement.after = {OperatorId(operators_.size())};
      } else {
        op.after = {move.movement};
      }
      result_.helpers.push_back({number, is_first});
      operators_.push_back(std::move(op));
    }
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
      const bool is_gradient = movement.movement.key.moved == Moved::kGradient;
      op.parameters = {movement.movement.key.parameter};
      if (problem_.chooses_modes() && is_gradient && !movement.value) op.parameters = {gradient_of(op.parameters[0])};
      op.after = movement.after;
      const OperatorId id(operators_.size());
      if (movement.value) {
        const TensorId value = add_tensor(op.name + " value", *movement.value, TensorId(graph_.tensors().size()));
        if (movement.movement.key.moved == Moved::kForwardWeights) allow_modes(movement, op, value);
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

  /// A parameter without bytes that only those read that add to the gradient: its reduction waits for them, and not, as
  /// optimizer operators do, for what runs again and reads the weights.
  ParameterId gradient_of(ParameterId parameter) {
    if (updates_of_.empty()) find_updates();
    std::string name = graph_.at(parameter).name + " gradient";
    while (!parameter_names_.insert(name).second) name += '\'';
    parameters_.push_back({std::move(name), Bytes()});
    const ParameterId result(parameters_.size() - 1);
    for (const OperatorId op : updates_of_[parameter.index()]) operators_[op.index()].parameters.push_back(result);
    return result;
  }

  void find_updates() {
    updates_of_.resize(graph_.parameters().size());
    for (const Parameter& parameter : graph_.parameters()) parameter_names_.insert(parameter.name);
    for (std::size_t i = 0; i < graph_.operators().size(); ++i) {
      const Operator& op = graph_.operators()[i];
      if (op.phase != Phase::kWeightGradient && op.phase != Phase::kBackward) continue;
      for (const ParameterId parameter : op.parameters) updates_of_[parameter.index()].emplace_back(i);
    }
  }

  /// What is gathered for the forward pass may be dropped where its readers make something that may: it is gathered
  /// again, with their unit if they are of one.
  void allow_modes(const ParameterMovement& movement, Operator& gather, TensorId value) {
    if (!problem_.chooses_modes() || gather.phase != Phase::kForward) return;
    MemoryModes modes;
    for (const OperatorId reader : movement.others) {
      for (const TensorId output : graph_.at(reader).outputs) {
        modes.drop = modes.drop || graph_.memory_modes(output, problem_.settings().memory_modes).drop;
      }
    }
    tensors_[value.index()].memory_modes = modes;
    join_unit_of_readers(graph_, unit_of_, movement.others, gather, operators_);
  }

  const LayoutProblem& problem_;
  const LayoutSelection& selection_;
  const ComputationGraph& graph_;
  struct Chosen {
    const LayoutOption* option;
    std::uint32_t gang;
  };
  std::vector<Chosen> chosen_;  ///< by operator of the original: what the selection says of it
  std::vector<Operator> operators_;
  std::vector<Tensor> tensors_;
  std::vector<Parameter> parameters_;
  TensorWays ways_;
  std::vector<std::string> names_;                   ///< by gang, once they are asked for
  std::vector<std::vector<Version>> versions_;       ///< by tensor: as movements make it, or as an input is wanted
  std::vector<MovedTensor> moves_;                   ///< by operator behind those of the original
  std::vector<std::uint32_t> unit_of_;               ///< by operator, where values may have modes
  std::vector<std::vector<OperatorId>> updates_of_;  ///< by parameter, once it is asked for
  std::set<std::string, std::less<>> parameter_names_;
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
