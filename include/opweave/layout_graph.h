/// Operators that may run in several layouts, and plans that say which (docs/layouts.md).
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/cluster.h"
#include "opweave/graph.h"
#include "opweave/id.h"
#include "opweave/memory_mode.h"
#include "opweave/plan.h"
#include "opweave/problem.h"
#include "opweave/quantity.h"

namespace opweave {

/// How a tensor lies over the devices of a gang, in the words of PyTorch's DTensor.
struct TensorLayout {
  enum class Kind : std::uint8_t {
    kReplicated,  ///< R: all of it on each device
    kSharded,     ///< S(dim): an equal part of dimension `dim` on each device, in their order
    kPartial,     ///< P: all of it on each device, but only the sum over the devices is the tensor
  };
  Kind kind = Kind::kReplicated;
  std::uint32_t dim = 0;  ///< of kSharded; else 0
  auto operator<=>(const TensorLayout&) const = default;
};
/// "R", "S(0)", "P".
[[nodiscard]] std::string to_string(const TensorLayout& layout);
/// Inverse of to_string; nothing for any other text.
[[nodiscard]] std::optional<TensorLayout> layout_from_string(std::string_view text);
/// Bytes of a tensor in a layout on each of `devices` devices: a part of S is rounded up.
[[nodiscard]] Bytes bytes_per_device(Bytes tensor, const TensorLayout& layout, std::size_t devices);

/// In how many parts a parameter lies on the devices of an option; each of them holds one part of each kind.
/// Devices i and j with i % split == j % split compute with the same part: their gradients have to be summed.
struct ParameterParts {
  std::uint32_t split = 1;      ///< parts that the operators compute with; divides the number of devices
  std::uint32_t weights = 1;    ///< of what is kept: `split`, or one part for each device
  std::uint32_t gradients = 1;  ///< likewise, and no fewer parts than of the weights
  std::uint32_t optimizer = 1;  ///< likewise, and no fewer parts than of the gradients
  bool operator==(const ParameterParts&) const = default;
};

/// One way to run an operator.
struct LayoutOption {
  std::string name;
  std::vector<DeviceId> devices;  ///< ascending; one device, or a gang
  Duration duration;
  Bytes workspace;                                        ///< on each device, while it runs
  std::vector<TensorLayout> inputs;                       ///< by position in Operator::inputs
  std::vector<TensorLayout> outputs;                      ///< by position in Operator::outputs
  std::vector<std::optional<ParameterParts>> parameters;  ///< by position; nothing = what other operators say
};

/// A graph whose operators all have options, and neither durations nor devices beside them.
struct LayoutGraph {
  ComputationGraph graph;
  std::vector<std::vector<LayoutOption>> options;  ///< by OperatorId; at least one
  std::vector<std::string> choices;                ///< by OperatorId; operators of one text choose alike; empty = alone
  std::string movement_stream = "comm";            ///< that movements hold on all their devices
};

/// What a movement does.
enum class LayoutMovementKind : std::uint8_t { kSend, kAllGather, kReduceScatter, kAllReduce, kAllToAll };
/// "send", "all_gather", "reduce_scatter", "all_reduce", "all_to_all".
[[nodiscard]] std::string_view to_string(LayoutMovementKind kind);
/// Inverse of to_string; nothing for any other text.
[[nodiscard]] std::optional<LayoutMovementKind> layout_movement_kind_from_string(std::string_view text);

/// What a movement moves.
enum class Moved : std::uint8_t {
  kTensor,
  kGradient,         ///< of a parameter
  kUpdate,           ///< weights of a parameter, once its optimizer operators have ended
  kForwardWeights,   ///< weights of a parameter, gathered for its readers of phase F (or none)
  kBackwardWeights,  ///< the same for its readers of phase I, W and B
};
/// "tensor", "gradient", "update", "forward-weights", "backward-weights".
[[nodiscard]] std::string_view to_string(Moved moved);
/// Inverse of to_string; nothing for any other text.
[[nodiscard]] std::optional<Moved> moved_from_string(std::string_view text);

/// What is moved, and for whom: no two movements of a plan have the same.
struct MovementKey {
  Moved moved = Moved::kTensor;
  TensorId tensor;               ///< of kTensor
  ParameterId parameter;         ///< of all others
  std::optional<OperatorId> op;  ///< of gradients that are reduced behind each operator: that operator
  std::uint32_t copy = 0;        ///< microbatch; 0 of what happens once in an iteration
  std::vector<DeviceId> target;  ///< of kTensor: where it is wanted, ascending
  TensorLayout layout;           ///< of kTensor: in which layout
  auto operator<=>(const MovementKey&) const = default;
};

/// A movement in a plan.
struct LayoutMovement {
  MovementKey key;
  LayoutMovementKind kind = LayoutMovementKind::kSend;
  std::vector<DeviceId> devices;  ///< all that take part, ascending
  Duration start;
  Duration end;
  bool again = false;  ///< of kTensor and kForwardWeights: once more, with its unit, for what was dropped
};

/// A value as it was made, or as a movement made it.
struct ValueForm {
  Moved moved = Moved::kTensor;  ///< or kForwardWeights: what is gathered of a parameter for the forward pass
  TensorId tensor;               ///< of kTensor
  ParameterId parameter;         ///< of kForwardWeights
  std::vector<DeviceId> target;  ///< of the movement, ascending; empty = as it was made
  TensorLayout layout;           ///< of the movement; R as it was made
  std::uint32_t copy = 0;        ///< microbatch
  auto operator<=>(const ValueForm&) const = default;
};

/// The memory mode of a value in one form, where it is not kKeep.
struct FormMode {
  ValueForm value;
  MemoryMode mode = MemoryMode::kDrop;
};

/// What brings values back, beside movements that happen again.
struct FormReturn {
  MovementKind kind = MovementKind::kRecompute;
  OperatorId op;                  ///< of kRecompute: what runs again
  ValueForm value;                ///< of copies: what is copied; of kRecompute the copy alone
  std::vector<DeviceId> devices;  ///< ascending
  Duration start;
  Duration end;
};

/// A plan of a graph with options. `plan` holds tasks, transfers, bounds and figures in the ids of the graph.
struct LayoutPlan {
  Plan plan;
  std::vector<std::string> options;       ///< by OperatorId: the name of its option; its tasks name the devices
  std::vector<LayoutMovement> movements;  ///< by start, then key, the first time first
  std::vector<FormMode> modes = {};       ///< by value; `plan` has none of its own
  std::vector<FormReturn> returns = {};   ///< by start, then kind, operator, value
};

/// The settings or a tensor allow memory modes beside kKeep.
[[nodiscard]] bool may_choose_modes(const LayoutGraph& graph, const ProblemSettings& settings);

/// Settings for which layouts are planned and checked. \throws InputError naming what is not supported: replicas,
/// contention, blocks
void require_layout_settings(const ProblemSettings& settings);

}  // namespace opweave
