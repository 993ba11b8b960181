#include "opweave/experts.h"

#include <utility>

#include "experts/generators.h"
#include "opweave/error.h"

namespace opweave {

namespace {

std::optional<detail::DeviceActions> actions_of(Expert expert, const ExpertSize& of, const StageCosts& costs) {
  const detail::PipelineSize size{of.devices, of.microbatches};
  const detail::LoopSize loop{size, of.chunks, of.group};
  switch (expert) {
    case Expert::kGPipe:
      return detail::gpipe(size);
    case Expert::k1F1B:
      return detail::one_forward_one_backward(size);
    case Expert::kInterleaved1F1B:
      return detail::interleaved(loop);
    case Expert::kInterleavedZB:
      return detail::interleaved_zero_bubble(loop);
    case Expert::kLoopedBFS:
      return detail::looped_breadth_first(loop);
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

std::optional<std::string> why_undefined_on_loop(const ExpertSize& size) {
  if (size.chunks == 0) return "needs at least 1 chunk, got 0";
  if (!size.group) return std::nullopt;
  if (*size.group < size.devices) {
    return "needs groups of at least as many microbatches as devices, " + std::to_string(size.devices) + ", got " +
           std::to_string(*size.group);
  }
  const std::uint32_t last = size.microbatches % *size.group;
  if (last == 0 || last >= size.devices || size.microbatches < *size.group) return std::nullopt;
  return "needs a last group of at least as many microbatches as devices, " + std::to_string(size.devices) + ", " +
         std::to_string(size.microbatches) + " microbatches in groups of " + std::to_string(*size.group) + " leave " +
         std::to_string(last);
}

}  // namespace

PipelineShape shape_of(Expert expert) {
  switch (expert) {
    case Expert::kGPipe:
    case Expert::k1F1B:
    case Expert::kZB1P:
    case Expert::kZB2P:
      return PipelineShape::kLinear;
    case Expert::kInterleaved1F1B:
    case Expert::kInterleavedZB:
    case Expert::kLoopedBFS:
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

std::uint32_t stages_of(Expert expert, const ExpertSize& size) {
  switch (shape_of(expert)) {
    case PipelineShape::kV:
      return 2 * size.devices;
    case PipelineShape::kLoop:
      return size.chunks * size.devices;
    default:
      return size.devices;
  }
}

std::optional<std::string> why_undefined(Expert expert, const ExpertSize& size) {
  if (size.devices == 0) return "needs at least 1 device, got 0";
  if (size.microbatches == 0) return "needs at least 1 microbatch, got 0";
  if (shape_of(expert) == PipelineShape::kLoop) return why_undefined_on_loop(size);
  if (expert == Expert::kDualPipe && size.devices % 2 != 0) {
    return "needs an even number of devices, got " + std::to_string(size.devices);
  }
  if (expert == Expert::kDualPipe && size.microbatches % 2 != 0) {
    return "needs an even number of microbatches, got " + std::to_string(size.microbatches);
  }
  const bool in_pairs = expert == Expert::kDualPipe || expert == Expert::kDualPipeV;
  if (in_pairs && size.microbatches / 2 < size.devices) {
    return "needs at least 2 microbatches per device, " + std::to_string(std::uint64_t{2} * size.devices) + " for " +
           std::to_string(size.devices) + " devices, got " + std::to_string(size.microbatches);
  }
  return std::nullopt;
}

std::optional<PipelineSchedule> generate(Expert expert, const ExpertSize& size, const StageCosts& costs) {
  if (why_undefined(expert, size)) return std::nullopt;
  auto actions = actions_of(expert, size, costs);
  if (!actions) return std::nullopt;
  PipelineSchedule schedule;
  schedule.name = to_string(expert);
  schedule.shape = shape_of(expert);
  schedule.stages = stages_of(expert, size);
  schedule.microbatches = size.microbatches;
  schedule.devices = std::move(*actions);
  return schedule;
}

}  // namespace opweave
