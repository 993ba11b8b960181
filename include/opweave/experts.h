/// Published pipeline schedules, for any number of devices and microbatches and any costs.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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

/// Times of one whole stage on one device: what a schedule's author would plug into the definition.
struct StageCosts {
  Duration forward;
  Duration input_gradient;
  Duration weight_gradient;
  Duration hop_latency;
};

/// The shape the expert is defined for, and the number of stages it uses on `devices` devices.
[[nodiscard]] PipelineShape shape_of(Expert expert);
[[nodiscard]] std::uint32_t stages_of(Expert expert, std::uint32_t devices);

/// The expert's order of actions. Nothing where its definition does not cover the sizes (DualPipe
/// needs an even number of devices and of microbatches, at least 2 per device; interleaved 1F1B needs
/// a multiple of the devices, ...).
[[nodiscard]] std::optional<PipelineSchedule> generate(Expert expert, std::uint32_t devices, std::uint32_t microbatches,
                                                       const StageCosts& costs);

/// How an overlapped pair runs.
enum class PairMode : std::uint8_t {
  kAtomic,  ///< starts when both inputs are there, delivers both outputs at its end, as published
  kSplit,   ///< forward, then backward, as two actions
};

/// The order of operators that a pipeline schedule prescribes for a problem whose operators carry
/// stages: an action becomes a block of the stage's operators of that phase in sequence, a pair a
/// block in which the two chains are interleaved on the streams as tightly as a short search finds.
/// \throws InputError if an action has no operators in the problem, or an operator no action.
[[nodiscard]] ExecutionOrder to_order(const Problem& problem, const PipelineSchedule& schedule, PairMode pairs);

/// One expert's plan for a problem.
struct ExpertPlan {
  Expert expert;
  std::string name;  ///< e.g. "DualPipe", "DualPipe (split)"
  PipelineSchedule pipeline;
  Schedule schedule;
};

/// All experts whose placement and sizes fit the problem's stages, devices and replicas, simulated on
/// it. Their memory is reported, not enforced. Empty for problems without stages.
[[nodiscard]] std::vector<ExpertPlan> expert_plans(const Problem& problem);

}  // namespace opweave
