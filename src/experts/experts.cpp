#include "opweave/experts.h"

#include <array>
#include <utility>

#include "experts/generators.h"
#include "opweave/error.h"

namespace opweave {

namespace {

constexpr std::array<std::pair<Expert, std::string_view>, 10> kNames = {{{Expert::kGPipe, "GPipe"},
                                                                         {Expert::k1F1B, "1F1B"},
                                                                         {Expert::kInterleaved1F1B, "Interleaved-1F1B"},
                                                                         {Expert::kZB1P, "ZB1P"},
                                                                         {Expert::kZB2P, "ZB-2P"},
                                                                         {Expert::kZBV, "ZB-V"},
                                                                         {Expert::kVHalf, "V-Half"},
                                                                         {Expert::kVMin, "V-Min"},
                                                                         {Expert::kDualPipe, "DualPipe"},
                                                                         {Expert::kDualPipeV, "DualPipeV"}}};

constexpr std::uint32_t kInterleavedChunks = 2;

std::optional<detail::DeviceActions> actions_of(Expert expert, detail::PipelineSize size, const StageCosts& costs) {
  switch (expert) {
    case Expert::kGPipe:
      return detail::gpipe(size);
    case Expert::k1F1B:
      return detail::one_forward_one_backward(size);
    case Expert::kInterleaved1F1B:
      return detail::interleaved(size, kInterleavedChunks);
    case Expert::kZB1P:
      return detail::zero_bubble_one(size);
    case Expert::kZB2P:
      return detail::zero_bubble_two(size, costs);
    case Expert::kZBV:
      return detail::zero_bubble_v(size, costs);
    case Expert::kVHalf:
      return detail::v_half(size);
    case Expert::kVMin:
      return detail::v_min(size);
    case Expert::kDualPipe:
      return detail::dual_pipe(size);
    case Expert::kDualPipeV:
      return detail::dual_pipe_v(size);
  }
  throw InternalError("expert without a definition");
}

}  // namespace

std::string_view to_string(Expert expert) {
  for (const auto& [value, name] : kNames) {
    if (value == expert) return name;
  }
  throw InternalError("expert without a name");
}

std::optional<Expert> expert_from_string(std::string_view text) {
  for (const auto& [value, name] : kNames) {
    if (name == text) return value;
  }
  return std::nullopt;
}

PipelineShape shape_of(Expert expert) {
  switch (expert) {
    case Expert::kGPipe:
    case Expert::k1F1B:
    case Expert::kZB1P:
    case Expert::kZB2P:
      return PipelineShape::kLinear;
    case Expert::kInterleaved1F1B:
      return PipelineShape::kLoop;
    case Expert::kZBV:
    case Expert::kVHalf:
    case Expert::kVMin:
    case Expert::kDualPipeV:
      return PipelineShape::kV;
    case Expert::kDualPipe:
      return PipelineShape::kTwoWay;
  }
  throw InternalError("expert without a shape");
}

std::uint32_t stages_of(Expert expert, std::uint32_t devices) {
  switch (shape_of(expert)) {
    case PipelineShape::kV:
      return 2 * devices;
    case PipelineShape::kLoop:
      return kInterleavedChunks * devices;
    default:
      return devices;
  }
}

std::optional<PipelineSchedule> generate(Expert expert, std::uint32_t devices, std::uint32_t microbatches,
                                         const StageCosts& costs) {
  if (devices == 0 || microbatches == 0) return std::nullopt;
  auto actions = actions_of(expert, {devices, microbatches}, costs);
  if (!actions) return std::nullopt;
  PipelineSchedule schedule;
  schedule.name = to_string(expert);
  schedule.shape = shape_of(expert);
  schedule.stages = stages_of(expert, devices);
  schedule.microbatches = microbatches;
  schedule.devices = std::move(*actions);
  return schedule;
}

}  // namespace opweave
