/// Published pipeline schedules, for any number of devices and microbatches and any costs.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/budget.h"
#include "opweave/cut.h"
#include "opweave/pipeline.h"
#include "opweave/problem.h"
#include "opweave/simulate.h"

namespace opweave {

/// The published schedules. docs/experts.md gives the source and definition of each.
enum class Expert : std::uint8_t {
  kGPipe,
  k1F1B,
  kInterleaved1F1B,
  kZB1P,
  kZB2P,
  kZBV,
  kVHalf,
  kVMin,
  kDualPipe,
  kDualPipeV,
  kInterleavedZB,
  kLoopedBFS,
};
inline constexpr Expert kAllExperts[] = {Expert::kGPipe,         Expert::k1F1B,      Expert::kInterleaved1F1B,
                                         Expert::kInterleavedZB, Expert::kLoopedBFS, Expert::kZB1P,
                                         Expert::kZB2P,          Expert::kZBV,       Expert::kVHalf,
                                         Expert::kVMin,          Expert::kDualPipe,  Expert::kDualPipeV};
/// "GPipe", "1F1B", "Interleaved-1F1B", "Interleaved-ZB", "Looped-BFS", "ZB1P", "ZB-2P", "ZB-V", "V-Half", "V-Min",
/// "DualPipe", "DualPipeV".
[[nodiscard]] std::string_view to_string(Expert expert);
/// Inverse of to_string, whatever the case of letters and with or without hyphens; knows PyTorch's names
/// ("ScheduleZBVZeroBubble", "InterleavedZeroBubble", ...) too. Nothing for any other text.
[[nodiscard]] std::optional<Expert> expert_from_string(std::string_view text);
/// The same for what a user typed.
/// \throws InputError that lists the names, with a hint where one is near.
[[nodiscard]] Expert expert_named(std::string_view text);

/// Times of one stage on one device, as the expert cuts the model: a stage of a V is half as long as one of a
/// linear pipeline on the same devices. Only ZB-2P and ZB-V look at them.
struct StageCosts {
  Duration forward;
  Duration input_gradient;
  Duration weight_gradient;
  Duration hop_latency;
};

/// What a schedule is generated for. Chunks and groups are for the schedules on loops.
struct ExpertSize {
  std::uint32_t devices = 1;
  std::uint32_t microbatches = 1;
  std::uint32_t chunks = 2;            ///< stages per device
  std::optional<std::uint32_t> group;  ///< microbatches that go through a chunk before the next chunk; nothing = rounds
                                       ///< of about as many as devices
};

/// The shape the expert is defined for, and the number of stages it uses.
[[nodiscard]] PipelineShape shape_of(Expert expert);
[[nodiscard]] std::uint32_t stages_of(Expert expert, const ExpertSize& size);

/// Why the expert's definition does not cover the size; nothing where it does. DualPipe needs an even number of devices
/// and of microbatches, DualPipe and DualPipeV at least 2 microbatches per device, a group at least as many
/// microbatches as devices.
[[nodiscard]] std::optional<std::string> why_undefined(Expert expert, const ExpertSize& size);

/// The expert's order of actions; nothing where why_undefined gives a reason. In DualPipe the first half of the
/// microbatches belongs to the first replica.
[[nodiscard]] std::optional<PipelineSchedule> generate(Expert expert, const ExpertSize& size, const StageCosts& costs);
[[nodiscard]] inline std::optional<PipelineSchedule> generate(Expert expert, std::uint32_t devices,
                                                              std::uint32_t microbatches, const StageCosts& costs) {
  return generate(expert, ExpertSize{.devices = devices, .microbatches = microbatches, .group = {}}, costs);
}

/// How a pipeline is to be cut.
struct CutRequest {
  std::optional<std::uint32_t> stages;  ///< nothing = one per device, on V and loop two, free one per layer
  std::optional<std::string> cut;       ///< as parse_cut reads it; nothing = the least load of a device decides
  std::optional<Expert> schedule;       ///< the makespan under this schedule decides
};

/// Cuts the layers of a pipeline into stages: sets stage_of_layer, and stages where some are empty. Gives the cut,
/// whose `judged` is the makespan (ns) under request.schedule, or else what dispatch_judge says; nothing for a cut that
/// was given or for shape free. Transfers take what they take between the first two devices of the cluster. \pre
/// spec.shape, devices and training are set. The request has a cut, or a number of stages, or neither. \throws
/// InputError if layers, stages, shape, schedule and devices do not fit each other.
std::optional<StageCut> cut_pipeline(PipelineSpec& spec, const CutRequest& request, const Cluster& cluster);

/// How an overlapped pair runs.
enum class PairMode : std::uint8_t {
  kAtomic,  ///< starts when both inputs are there, delivers both outputs at its end, as published
  kSplit,   ///< forward, then backward, as two actions
};

/// The order of operators that a pipeline schedule prescribes for a problem whose operators carry
/// stages: an action becomes a block of the stage's operators of that phase in sequence, B one of I
/// and W, an atomic pair one in which the two chains are interleaved on the streams as tightly as a
/// short search finds. Operators without a phase count as F, fused ones (B) as I, those of the
/// optimizer follow at the end; an action without operators is left out.
/// Where the problem has more stages than the schedule, consecutive ones are joined by the cut that is best under
/// the schedule (cut_stages). Row r of the schedule runs on device r where its operators may run there, else on
/// another device on which they may.
/// \throws InputError if an operator has no stage or no action, an action is outside the problem or
///   repeated, or no devices fit the rows.
[[nodiscard]] ExecutionOrder to_order(const Problem& problem, const PipelineSchedule& schedule, PairMode pairs);

/// One expert's plan for a problem.
struct ExpertPlan {
  Expert expert;
  std::string name;  ///< e.g. "DualPipe", "DualPipe (split)"
  PipelineSchedule pipeline;
  Schedule schedule;
};

/// All experts whose placement and sizes fit the problem's stages, devices and replicas, simulated on
/// it, in the order of kAllExperts; a schedule with pairs gives two plans. Operators that may run
/// anywhere are placed as the expert would, their stages joined as by to_order; a loop then has 2 chunks,
/// and where 3 or 4 make a shorter plan that fits, there is one for those as well. The schedules are
/// valid plans except that memory is reported, not enforced. Empty for problems without stages. Looks at
/// the clock of `budget` between plans and returns what is there by then. O(n log n) per plan.
[[nodiscard]] std::vector<ExpertPlan> expert_plans(const Problem& problem, const Budget& budget = {});

/// The same work without its placement: operators may run on any device, every layer is a stage of its own (where
/// operators name their layers), and there may be two copies of every parameter. Its expert_plans are all
/// published schedules for the devices at hand, whatever placement the problem has.
/// \throws InputError as Problem::create: an operator may lack a duration on a device that it was kept from.
[[nodiscard]] Problem with_open_placement(const Problem& problem);

}  // namespace opweave
