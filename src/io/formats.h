/// Names and versions of our file formats (docs/formats.md).
#pragma once

#include <cstdint>
#include <string_view>

namespace opweave::io {

inline constexpr std::string_view kGraphFormat = "opweave.graph";
inline constexpr std::string_view kClusterFormat = "opweave.cluster";
inline constexpr std::string_view kPlanFormat = "opweave.plan";
inline constexpr std::string_view kPipelineFormat = "opweave.pipeline";
inline constexpr std::string_view kModelFormat = "opweave.model";
inline constexpr std::string_view kMachinesFormat = "opweave.machines";
inline constexpr std::string_view kStrategyFormat = "opweave.strategy";
inline constexpr std::string_view kMeasuredStepsFormat = "opweave.measured-steps";
inline constexpr std::string_view kProfileFormat = "opweave.profile";
inline constexpr std::string_view kSweepFormat = "opweave.sweep";
/// Version of each of them.
inline constexpr std::uint32_t kFormatVersion = 1;
/// Version of strategies in which a component has a mesh of its own (`pipeline` and the lists by stage mean less, or
/// more, without it), or which are for a profile of the user's (without it the step is another).
inline constexpr std::uint32_t kStrategyVersionWithMore = 2;
/// Version of plans with memory modes: whoever does not know movements would take the tasks for all that runs.
inline constexpr std::uint32_t kPlanVersionWithMovements = 2;
/// Version of graphs whose operators have options with layouts, and of plans that choose among them.
inline constexpr std::uint32_t kGraphVersionWithOptions = 2;
inline constexpr std::uint32_t kPlanVersionWithOptions = 3;

}  // namespace opweave::io
