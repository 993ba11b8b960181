/// Published pipeline schedules, for any number of devices and microbatches and any costs.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/budget.h"
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
};
inline constexpr Expert kAllExperts[] = {Expert::kGPipe,    Expert::k1F1B,     Expert::kInterleaved1F1B, Expert::kZB1P,
                                         Expert::kZB2P,     Expert::kZBV,      Expert::kVHalf,           Expert::kVMin,
                                         Expert::kDualPipe, Expert::kDualPipeV};
/// "GPipe", "1F1B", "Interleaved-1F1B", "ZB1P", "ZB-2P", "ZB-V", "V-Half", "V-Min", "DualPipe", "DualPipeV".
[[nodiscard]] std::string_view to_string(Expert expert);
/// Inverse of to_string; nothing for any other text.
[[nodiscard]] std::optional<Expert> expert_from_string(std::string_view text);

/// Times of one stage on one device, as the expert cuts the model: a stage of a V is half as long as one of a
/// linear pipeline on the same devices. Only ZB-2P and ZB-V look at them.
struct StageCosts {
  Duration forward;
  Duration input_gradient;
  Duration weight_gradient;
  Duration hop_latency;
};

/// The shape the expert is defined for, and the number of stages it uses on `devices` devices.
[[nodiscard]] PipelineShape shape_of(Expert expert);
[[nodiscard]] std::uint32_t stages_of(Expert expert, std::uint32_t devices);

/// The expert's order of actions. Nothing where its definition does not cover the sizes: DualPipe
/// needs an even number of devices and of microbatches, DualPipe and DualPipeV at least 2 microbatches
/// per device. In DualPipe the first half of the microbatches belongs to the first replica.
[[nodiscard]] std::optional<PipelineSchedule> generate(Expert expert, std::uint32_t devices, std::uint32_t microbatches,
                                                       const StageCosts& costs);

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
/// Where the problem has more stages than the schedule, consecutive ones are joined to parts of about
/// equal time. Row r of the schedule runs on device r where its operators may run there, else on
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
/// anywhere are placed as the expert would, their stages joined as by to_order. The schedules are
/// valid plans except that memory is reported, not enforced. Empty for problems without stages. Looks at
/// the clock of `budget` between plans and returns what is there by then. O(n log n) per plan.
[[nodiscard]] std::vector<ExpertPlan> expert_plans(const Problem& problem, const Budget& budget = {});

/// The same work without its placement: operators may run on any device, every layer is a stage of its own (where
/// operators name their layers), and there may be two copies of every parameter. Its expert_plans are all
/// published schedules for the devices at hand, whatever placement the problem has.
/// \throws InputError as Problem::create: an operator may lack a duration on a device that it was kept from.
[[nodiscard]] Problem with_open_placement(const Problem& problem);

}  // namespace opweave
