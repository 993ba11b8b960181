/// How a model is trained on many devices: degrees of parallelism, microbatch, what is kept and what is made again -
/// and what a step of it costs. docs/strategies.md has the formulas.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/budget.h"
#include "opweave/model.h"
#include "opweave/quantity.h"

namespace opweave {

/// A type of accelerator, by its data sheet. Rates per second.
struct Accelerator {
  std::string name;
  Bytes memory;
  double bf16_flops = 0;        ///< dense
  double fp8_flops = 0;         ///< dense; that of bf16 where there is none
  double memory_bandwidth = 0;  ///< bytes
  double node_bandwidth = 0;    ///< bytes of a ring collective inside a node (NCCL's "bus bandwidth"), as measured
  double host_bandwidth = 0;    ///< bytes to the host's memory, and as many back at the same time
  Bytes host_memory;            ///< a device's share of its host's
  bool operator==(const Accelerator&) const = default;
};

/// Equal nodes of equal devices.
struct Machines {
  Accelerator device;
  std::uint32_t nodes = 1;
  std::uint32_t devices_per_node = 8;
  double fabric_bandwidth = 0;  ///< bytes per second and direction of one device to other nodes
  bool operator==(const Machines&) const = default;

  [[nodiscard]] std::uint64_t devices() const { return std::uint64_t{nodes} * devices_per_node; }
};

/// Types with data sheets that are built in: "A100", "H100", "H800", "H200", "B200", "GB200", ...; without regard to
/// case.
[[nodiscard]] const std::vector<Machines>& known_machines();
/// \throws InputError naming those that are known.
[[nodiscard]] Machines machines_named(std::string_view name);

enum class Precision : std::uint8_t { kBf16, kFp8 };

/// What one optimizer step trains on.
struct TrainingRun {
  std::int64_t global_batch = 1;  ///< sequences
  std::int64_t sequence = 1;      ///< tokens
  Precision precision = Precision::kBf16;
  bool has_bf16_gradients = false;  ///< summed and reduced in two bytes; else as the profile's stack does
  bool has_bf16_moments = false;    ///< Adam's moments in two bytes each instead of four
  bool has_fused_loss = false;      ///< the loss writes its gradient over the logits
  bool operator==(const TrainingRun&) const = default;
};

/// Which states the data-parallel ranks share out (ZeRO, arXiv 1910.02054); each level includes those before.
enum class Sharding : std::uint8_t { kNone, kOptimizer, kGradients, kWeights };
/// What the backward pass finds kept: all, all but what some modules make, or the inputs of layers alone.
enum class Recompute : std::uint8_t { kNone, kSelective, kFull };
/// Parts of a layer that are made again alone. All but the last are Megatron-Core's (`--recompute-modules`): the core
/// of attention, the activation function of experts, norms that are modules of their own, what latents are widened to,
/// a dense perceptron, routed and shared experts together, shared experts. The last is torchtitan's selective
/// checkpointing: all but attention, messages and every other matrix product. docs/strategies.md says what each leaves.
enum class LayerModule : std::uint8_t {
  kCoreAttention,
  kExpertActivation,
  kNorms,
  kLatentProjections,
  kPerceptron,
  kExperts,
  kSharedExperts,
  kAlternateProducts
};
inline constexpr std::size_t kLayerModules = 8;

/// A set of modules.
class ModuleSet {
 public:
  constexpr ModuleSet() = default;
  constexpr ModuleSet(std::initializer_list<LayerModule> modules) {
    for (const LayerModule module : modules) add(module);
  }
  constexpr void add(LayerModule module) { bits_ |= bit(module); }
  [[nodiscard]] constexpr bool has(LayerModule module) const { return (bits_ & bit(module)) != 0; }
  [[nodiscard]] constexpr bool empty() const { return bits_ == 0; }
  bool operator==(const ModuleSet&) const = default;

 private:
  static constexpr std::uint32_t bit(LayerModule module) { return 1U << static_cast<std::uint32_t>(module); }
  std::uint32_t bits_ = 0;
};

enum class PipelineKind : std::uint8_t { k1F1B, kInterleaved, kZeroBubble1, kZeroBubble2, kDualPipe };

// "bf16", "none", "optimizer", "1F1B", ...; from_string: nothing for any other text.
[[nodiscard]] std::string_view to_string(Precision precision);
[[nodiscard]] std::string_view to_string(Sharding sharding);
[[nodiscard]] std::string_view to_string(Recompute recompute);
[[nodiscard]] std::string_view to_string(PipelineKind kind);
[[nodiscard]] std::string_view to_string(LayerModule module);  ///< "core_attn", "moe_act", ..., "selective_ac"
/// Names in the order of LayerModule, joined by `separator`.
[[nodiscard]] std::string to_string(ModuleSet modules, std::string_view separator);
[[nodiscard]] std::optional<Precision> precision_from_string(std::string_view text);
[[nodiscard]] std::optional<Sharding> sharding_from_string(std::string_view text);
[[nodiscard]] std::optional<Recompute> recompute_from_string(std::string_view text);
[[nodiscard]] std::optional<PipelineKind> pipeline_kind_from_string(std::string_view text);
[[nodiscard]] std::optional<LayerModule> layer_module_from_string(std::string_view text);

/// A mesh of its own for the component whose layers come first: its stages stand before those of all other layers, on
/// devices of their own. It works through the same microbatches (docs/strategies.md, "A mesh per component").
struct ComponentMesh {
  std::string name;  ///< of the component
  std::uint32_t tensor = 1;
  bool has_sequence_parallelism = false;
  std::uint32_t context = 1;
  std::uint32_t data = 1;  ///< divides the sequences of a microbatch on all data ranks of the others
  std::uint32_t pipeline = 1;
  bool operator==(const ComponentMesh&) const = default;

  [[nodiscard]] std::uint64_t stage_ranks() const { return std::uint64_t{tensor} * context * data; }
  [[nodiscard]] std::uint64_t devices() const { return stage_ranks() * pipeline; }
};

/// One way to train. tensor x context x data x pipeline ranks; experts lie over tensor x context x data of one stage.
/// Ranks are numbered with the tensor axis innermost, then context, data, pipeline.
struct Strategy {
  std::uint32_t tensor = 1;
  bool has_sequence_parallelism = false;  ///< norms and residuals split over the tensor axis (arXiv 2205.05198)
  std::uint32_t context = 1;
  std::uint32_t data = 1;
  std::uint32_t pipeline = 1;
  std::uint32_t chunks = 1;  ///< stages per device of an interleaved pipeline
  std::uint32_t expert = 1;
  std::uint32_t expert_tensor = 1;
  std::uint32_t micro_batch = 1;  ///< sequences
  Sharding sharding = Sharding::kNone;
  Recompute recompute = Recompute::kNone;
  /// Layers per stage that are made again in the backward pass; without it all (or none: Recompute::kNone).
  std::optional<std::uint32_t> recomputed_layers;
  /// The same by stage, where stages differ: an entry per stage, 0 for one that makes no layer again whole; empty =
  /// all alike.
  std::vector<std::uint32_t> recomputed_per_stage;
  /// What is made again in the layers that are not made again whole: of Recompute::kSelective, or beside kFull.
  ModuleSet recomputed_modules;
  std::vector<ModuleSet> modules_per_stage;  ///< the same by stage, where stages differ; empty = all alike
  double activation_offload = 0;             ///< share of what layers keep that waits in the host's memory; from 0 to 1
  std::vector<double> offload_per_stage;     ///< the same by stage, where stages differ; empty = all alike
  double optimizer_offload = 0;  ///< share of the optimizer's state that the host keeps and steps; from 0 to 1
  PipelineKind schedule = PipelineKind::k1F1B;
  bool overlaps_tensor = false;  ///< collectives of the tensor axis run in pieces beside the matrix products
  bool overlaps_data = true;     ///< gradients are reduced while the last backward passes run
  std::vector<std::uint32_t> layers_per_stage;  ///< an entry per stage; empty = as even as can be
  /// Where a component has a mesh of its own: all degrees above are those of the other layers, and its stages, which
  /// come first, have entries of their own in all lists by stage.
  std::optional<ComponentMesh> component;
  bool operator==(const Strategy&) const = default;

  /// Pipeline ranks of all meshes.
  [[nodiscard]] std::uint32_t stages() const { return first_stage() + pipeline; }
  /// The first stage of the layers that share the mesh of the main chain.
  [[nodiscard]] std::uint32_t first_stage() const { return component ? component->pipeline : 0; }
  /// As if all stages did what this one does, on its mesh. States are shared out where there are copies.
  [[nodiscard]] Strategy of_stage(std::uint32_t stage) const;
  /// As if all stages lay on the mesh of the component; this where it has none of its own.
  [[nodiscard]] Strategy on_component_mesh() const;
  [[nodiscard]] std::uint64_t devices() const {
    return std::uint64_t{tensor} * context * data * pipeline + (component ? component->devices() : 0);
  }
};

/// What a software stack makes of a device type: three constants, fitted on measured steps, and facts about its
/// kernels.
struct CalibrationProfile {
  std::string name;                ///< "megatron-2024/H100/bf16"
  double matrix = 0.65;            ///< share of the peak rate that large matrix products reach
  double traffic = 1;              ///< memory traffic of everything that is no matrix product, by that of fused kernels
  double communication = 1;        ///< exposed part of collectives, by their time at the stated bandwidths
  double attention_forward = 0.5;  ///< share of the bf16 peak in fused attention
  double attention_backward = 0.42;
  bool has_fused_attention = true;        ///< else scores are written to memory and masked ones computed
  bool has_fused_norms = true;            ///< else each norm keeps two copies in fp32 for its backward pass
  bool has_split_loss = true;             ///< else logits are gathered over the tensor axis before the loss
  bool gathers_again = true;              ///< inputs gathered over the tensor axis are kept split, and gathered again
  bool keeps_fp8 = true;                  ///< in fp8, products keep their inputs so
  bool keeps_expert_outputs = false;      ///< results of experts are kept for the gradients of their gates
  Bytes gradient_bytes = Bytes(4);        ///< of one weight
  Bytes logit_bytes = Bytes(10);          ///< of one logit in the loss: bf16, fp32, and their gradients
  Bytes reserve = Bytes(2'684'354'560);   ///< context, libraries and communicators of a process: 2.5 GiB
  Duration launches = Duration(210'000);  ///< in which a process starts the kernels of a layer's forward pass
  bool pads_vocabulary = true;            ///< else a rank's part of it may be an odd number
  bool balances_context = true;           ///< context parallelism gives every rank equal work under a causal mask
  // How well it predicted the steps that it was fitted on.
  std::int64_t steps = 0;   ///< 0 = uncalibrated
  double median_error = 0;  ///< of |predicted / measured - 1|
  double ninetieth_error = 0;
  std::int64_t peaks = 0;  ///< steps with a stated peak of memory, to which `reserve` was fitted; 0 = it was not
  bool is_own = false;     ///< fitted on steps that the user measured, not on published ones
  bool operator==(const CalibrationProfile&) const = default;
};

/// Where the time of a step goes; sums up to `step`. All of the device that works longest.
struct StepTime {
  Duration step;
  Duration matrix;     ///< matrix products
  Duration attention;  ///< core of attention
  Duration traffic;    ///< everything that is bound by memory
  Duration recompute;  ///< forward work made again
  Duration offload;    ///< exposed copies to the host and back
  Duration tensor;     ///< exposed collectives of the tensor and context axes
  Duration expert;     ///< exposed dispatch and combine
  Duration data;       ///< exposed gathers and reductions of the data axis
  Duration hops;       ///< exposed transfers between stages
  Duration bubble;     ///< waiting, shorter stages among it
  Duration optimizer;
};

/// Bytes on the device that needs most.
struct StepMemory {
  Bytes weights;
  Bytes gradients;
  Bytes optimizer;
  Bytes activations;
  Bytes buffers;  ///< gathered weights and inputs, logits, copies on their way
  Bytes reserve;  ///< framework and fragmentation
  Bytes host;     ///< in the host's memory; not in the total
  [[nodiscard]] Bytes total() const { return weights + gradients + optimizer + activations + buffers + reserve; }
};

struct StrategyValue {
  StepTime time;
  StepMemory memory;
  std::uint32_t stage = 0;  ///< that needs most memory
  Bytes host;               ///< of the host's memory, per device of the stage that needs most of it
  bool fits = false;
  double tokens_per_second = 0;  ///< of all devices
  double mfu = 0;  ///< model flops (6 x matrix weights + attention, without what is made again) / peak of bf16
};

/// `opweave.strategy` (docs/formats.md). \throws InputError naming place and value
[[nodiscard]] Strategy parse_strategy(std::string_view json, const std::string& source);
[[nodiscard]] std::string strategy_to_json(const Strategy& strategy);
/// `opweave.machines` (docs/formats.md). \throws InputError naming place and value
[[nodiscard]] Machines parse_machines(std::string_view json, const std::string& source);

/// Why a strategy cannot train this on these machines, in one line; empty where it can.
[[nodiscard]] std::string why_impossible(const ModelDescription& model, const Machines& machines,
                                         const TrainingRun& run, const Strategy& strategy);

/// Predicted time and memory of a step. O(stages + layer runs). \pre why_impossible is empty
[[nodiscard]] StrategyValue evaluate(const ModelDescription& model, const Machines& machines, const TrainingRun& run,
                                     const Strategy& strategy, const CalibrationProfile& profile);

}  // namespace opweave
