/// The computational graph of one microbatch: operators, tensors, parameters.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/id.h"
#include "opweave/memory_mode.h"
#include "opweave/quantity.h"
#include "opweave/training.h"

namespace opweave {

/// Part of a training step that an operator belongs to, in PyTorch's letters.
enum class Phase : std::uint8_t {
  kNone,            ///< inference graphs: no letter
  kForward,         ///< F
  kInputGradient,   ///< I: gradient of the inputs
  kWeightGradient,  ///< W: gradient of the weights
  kBackward,        ///< B: I and W fused
  kOptimizer,       ///< O: runs once per replica, after all W and B of its parameters
};

/// "F", "I", "W", "B", "O", or "" for Phase::kNone.
[[nodiscard]] std::string_view to_string(Phase phase);
/// Inverse of to_string; nothing for any other text.
[[nodiscard]] std::optional<Phase> phase_from_string(std::string_view text);

/// Duration measured on one type of device; an empty type stands for every device.
struct MeasuredDuration {
  std::string device_type;
  Duration duration;
};

/// One explicit way to run an operator: the devices that run it together, for how long, with how
/// much workspace on each of them. Outputs are present on every device of the mode at its end.
struct ModeSpec {
  std::vector<std::string> devices;  ///< names; one device, or a gang
  Duration duration;
  Bytes workspace;
};

/// One node of the graph. Which durations apply: `modes` where given (then `devices` and
/// `durations` must be empty), else `durations` by device type, else the roofline of
/// `flops` and `bytes_accessed` on the device (see cost.h).
struct Operator {
  std::string name;
  std::string kind;  ///< free text: matmul, attention, all_to_all, ...
  Phase phase = Phase::kNone;
  std::vector<std::string> streams = {"compute"};  ///< all held while it runs
  std::vector<MeasuredDuration> durations;
  std::optional<double> flops;
  std::optional<double> bytes_accessed;
  std::string dtype = "bf16";  ///< selects the device's peak rate for the roofline
  std::vector<TensorId> inputs;
  std::vector<TensorId> outputs;
  std::vector<ParameterId> parameters;
  std::vector<OperatorId> after;  ///< control edges: these end before this starts
  Bytes workspace;
  /// Allowed devices by name: empty = every device; one list = for all replicas; else a list per replica.
  std::vector<std::vector<std::string>> devices;
  std::vector<ModeSpec> modes;
  std::string colocation;                    ///< operators of one group share their devices; empty = none
  std::vector<std::string> anti_colocation;  ///< operators of one group never share a device
  std::optional<StageId> stage;              ///< position in a pipeline, for expert schedules and export
  std::string layer;                         ///< label for reports
  /// Operators of phase F of one unit run again together; empty = those of one layer, of no layer the operator alone.
  std::string unit = {};
};

/// One array. Produced by at most one operator; without a producer it is an input of the graph,
/// present on every device that consumes it. `producer` and `consumers` are filled by the factory.
struct Tensor {
  std::string name;
  Bytes size;
  std::optional<OperatorId> producer;
  std::vector<OperatorId> consumers;             ///< ascending, each once
  std::optional<MemoryModes> memory_modes = {};  ///< what it may have; none = what the settings say
};

/// Weights. Lives on every device where an operator that reads it runs, and costs
/// Training::persistent_bytes(weights) there.
struct Parameter {
  std::string name;
  Bytes weights;
};

/// An acyclic graph of operators, checked and immutable.
class ComputationGraph {
 public:
  ComputationGraph() = default;

  /// Checks and completes the parts.
  /// \throws InputError for an empty or repeated name, an id out of range, a tensor with two
  ///   producers, a repeated entry in an operator's lists, a negative size or duration, an
  ///   operator with both `modes` and `durations`, a per-microbatch operator that follows an
  ///   optimizer operator, a unit with an operator that is not of phase F, memory modes of a tensor that no operator
  ///   of phase F makes, or a cycle (the message names its operators in order).
  static ComputationGraph create(std::string name, std::vector<Operator> operators, std::vector<Tensor> tensors,
                                 std::vector<Parameter> parameters, Training training = {});

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::vector<Operator>& operators() const { return operators_; }
  [[nodiscard]] const std::vector<Tensor>& tensors() const { return tensors_; }
  [[nodiscard]] const std::vector<Parameter>& parameters() const { return parameters_; }
  [[nodiscard]] const Operator& at(OperatorId id) const { return operators_[id.index()]; }
  [[nodiscard]] const Tensor& at(TensorId id) const { return tensors_[id.index()]; }
  [[nodiscard]] const Parameter& at(ParameterId id) const { return parameters_[id.index()]; }
  /// How the graph is repeated in one iteration, as its author gave it.
  [[nodiscard]] const Training& training() const { return training_; }
  /// Operators such that producers and "after" come first; ties in order of id.
  [[nodiscard]] const std::vector<OperatorId>& topological_order() const { return topological_order_; }
  /// The modes beside kKeep that copies of a tensor may have where the settings allow `otherwise`: none unless an
  /// operator of phase F makes it.
  [[nodiscard]] MemoryModes memory_modes(TensorId tensor, MemoryModes otherwise) const;

 private:
  std::string name_;
  std::vector<Operator> operators_;
  std::vector<Tensor> tensors_;
  std::vector<Parameter> parameters_;
  Training training_;
  std::vector<OperatorId> topological_order_;
};

}  // namespace opweave
