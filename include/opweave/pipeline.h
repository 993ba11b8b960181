/// From layer costs to the graph of a training pipeline, and pipeline schedules as text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/cluster.h"
#include "opweave/graph.h"
#include "opweave/problem.h"

namespace opweave {

/// Time of one phase of an operator: one for all devices, or one by type of device.
struct LayerTime {
  LayerTime(Duration everywhere)
      : durations{{"", everywhere}} {}  // NOLINT(google-explicit-constructor): the usual case
  explicit LayerTime(std::vector<MeasuredDuration> by_type) : durations(std::move(by_type)) {}
  /// On devices of a type ("" = without one): the one measured there, else the one of every type not named.
  [[nodiscard]] std::optional<Duration> on(std::string_view type) const;

  std::vector<MeasuredDuration> durations;  ///< as those of an Operator
};

/// One operator of a layer with the times of its phases; a phase without a time does not exist.
struct LayerOperator {
  std::string name;  ///< attention, dispatch, ...
  std::string kind;
  std::vector<std::string> streams = {"compute"};
  std::optional<LayerTime> forward;
  std::optional<LayerTime> input_gradient;
  std::optional<LayerTime> weight_gradient;
};

/// One layer: its operators in forward order. I runs in reverse order; W of an operator follows its
/// I, or takes the gradient that its I would take if it has none.
struct Layer {
  std::string name;
  std::vector<LayerOperator> operators;
  Bytes weights;                          ///< of the whole layer
  Bytes activation;                       ///< held from the start of the first F to the end of the last W
  Bytes activation_until_input_gradient;  ///< held from the start of the first F to the end of the last I
  Bytes weight_gradient_input;            ///< held from each I to the end of the W of the same operator
  Bytes output;                           ///< sent to the next layer by F; the same number comes back with I
};

/// What the first layer of a component takes from the last layer of another.
struct ComponentInput {
  std::uint32_t component = 0;  ///< index of the giver, smaller than that of the taker
  std::optional<Bytes> size;    ///< a tensor of its own of these bytes; nothing = the output of the giver's last
                                ///< layer, one tensor for all that take it
};

/// A branch of a model: consecutive layers, one after the other (a vision encoder, a language model, a
/// speech head). Components make an acyclic graph: several may flow into one and one into several.
struct Component {
  std::string name;
  std::uint32_t layers = 0;  ///< how many of PipelineSpec::layers
  std::vector<ComponentInput> inputs;
  std::vector<std::uint32_t> devices;  ///< where its layers may run, by index; empty = anywhere. Shape kFree only
};

/// How stages lie on devices (P devices).
enum class PipelineShape : std::uint8_t {
  kLinear,  ///< P stages, stage s on device s
  kV,       ///< 2P stages, stage s on device min(s, 2P - 1 - s)
  kLoop,    ///< v P stages, stage s on device s mod P
  kTwoWay,  ///< P stages, two replicas; the second runs stage s on device P - 1 - s
  kFree,    ///< any device; chosen by the planner
};
/// "linear", "V", "loop", "two-way", "free".
[[nodiscard]] std::string_view to_string(PipelineShape shape);
/// Inverse of to_string; nothing for any other text.
[[nodiscard]] std::optional<PipelineShape> shape_from_string(std::string_view text);

/// How one microbatch differs from what the layers say (more tokens, longer sequences).
struct MicrobatchScale {
  double duration = 1;  ///< factor of every time, rounded up
  double bytes = 1;     ///< factor of everything that a microbatch makes; weights stay as they are
};

/// A model cut into stages, to be trained with microbatches.
struct PipelineSpec {
  std::string name;
  std::vector<Layer> layers;
  std::vector<Component> components;          ///< which layers follow which; empty = all layers are one chain. The
                                              ///< layers of the first component come first, and so on
  std::vector<std::uint32_t> stage_of_layer;  ///< ascending from 0 without holes; empty = a stage per layer
  std::optional<std::uint32_t> stages;        ///< how many, where some have no layer: then holes are allowed
  PipelineShape shape = PipelineShape::kLinear;
  std::vector<std::string> devices;                ///< names, in pipeline order
  Training training;                               ///< replicas must be 2 for two-way, 1 for linear, V, loop
  std::vector<MicrobatchScale> microbatch_scales;  ///< one for each microbatch; empty = all are as the layers say
};

/// Device of a stage for a replica under a shape. \pre shape is not kFree.
[[nodiscard]] std::uint32_t device_of_stage(PipelineShape shape, std::uint32_t stage, std::uint32_t replica,
                                            std::uint32_t devices);

/// Layers 0 .. n-1 cut into `stages` consecutive stages whose sizes differ by at most one.
[[nodiscard]] std::vector<std::uint32_t> even_stages(std::uint32_t layers, std::uint32_t stages);

/// The one-microbatch graph of the pipeline: for each layer a chain of F operators, a reverse chain of
/// I operators, W operators, and the tensors that Layer describes; operators of a layer share its
/// parameter (even of 0 bytes) and so a device. The first layer of a component waits for the last layers of
/// its inputs, and the gradient goes back the same ways: I of a layer needs the gradients of all that took
/// its output. Where a component ends without a taker, its last F hands over to its first I. A layer
/// without F, or without I, hands on what it was handed. Operators are named "<layer>.<operator>.<phase>"
/// and carry their stage and layer; those of a free pipeline may run on any device, or on those of their component.
/// With microbatch_scales the graph is that of all microbatches, each with operators and tensors of its own, named
/// "<name>#<microbatch>", and with weights per replica; its training has one microbatch, and its operators no stage:
/// published schedules repeat equal microbatches.
/// \throws InputError if the number of stages does not fit the shape and the devices, replicas do not
///   fit the shape, stage_of_layer or components are not as described; and as ComputationGraph::create.
[[nodiscard]] ComputationGraph build_pipeline(const PipelineSpec& spec);

/// `count` equal devices "gpu0", "gpu1", ... with the given streams and capacity, every ordered pair
/// joined by a default link of this latency and bandwidth.
[[nodiscard]] Cluster uniform_cluster(std::uint32_t count, const std::vector<std::string>& streams,
                                      std::optional<Bytes> memory, Duration hop_latency,
                                      std::optional<std::int64_t> bandwidth_bytes_per_s = std::nullopt);

/// Bytes that one microbatch keeps for its backward, on all devices together: the tensors that F
/// operators make and that I, W or B operators consume. Divided by the number of devices this is the
/// literature's "one activation". 0 for graphs without a backward.
[[nodiscard]] Bytes activation_bytes(const ComputationGraph& graph);

/// Capacity with which every device holds its parameters and this many activations: the largest
/// persistent bytes of a device, plus floor(activations x activation_bytes / devices). Parameters whose
/// home the planner chooses count in equal shares.
[[nodiscard]] Bytes memory_for_activations(const Problem& problem, double activations);

/// What one cell of a pipeline schedule does, in PyTorch's letters.
enum class ActionKind : std::uint8_t {
  kForward,         ///< F
  kInputGradient,   ///< I
  kWeightGradient,  ///< W
  kBackward,        ///< B = I and W, both delivered at its end
  kPair,            ///< OVERLAP_F_B: F of one microbatch with B of another
};

/// One action of one device. For kPair, `stage` and `microbatch` are those of the forward,
/// `backward_stage` and `backward_microbatch` those of the backward.
struct PipelineAction {
  ActionKind kind = ActionKind::kForward;
  std::uint32_t stage = 0;
  std::uint32_t microbatch = 0;
  std::uint32_t backward_stage = 0;
  std::uint32_t backward_microbatch = 0;
  bool operator==(const PipelineAction&) const = default;
};

/// The order of actions on each device of a pipeline.
struct PipelineSchedule {
  std::string name;
  PipelineShape shape = PipelineShape::kLinear;
  std::uint32_t stages = 0;
  std::uint32_t microbatches = 0;
  std::vector<std::vector<PipelineAction>> devices;
};

/// "2F0", "3W1", "(0F7;7B3)OVERLAP_F_B".
[[nodiscard]] std::string to_string(const PipelineAction& action);
/// Strict inverse of to_string: nothing if anything is left over.
[[nodiscard]] std::optional<PipelineAction> action_from_string(std::string_view text);

}  // namespace opweave
