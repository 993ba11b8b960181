// Schedules whose order follows from counting alone: GPipe, 1F1B, interleaved 1F1B, ZB1P.
#include <algorithm>

#include "experts/generators.h"

namespace opweave::detail {

DeviceActions gpipe(PipelineSize size) {
  DeviceActions result(size.devices);
  for (std::uint32_t device = 0; device < size.devices; ++device) {
    for (ActionKind kind : {ActionKind::kForward, ActionKind::kBackward}) {
      for (std::uint32_t microbatch = 0; microbatch < size.microbatches; ++microbatch) {
        result[device].push_back(action(kind, device, microbatch));
      }
    }
  }
  return result;
}

// One chunk per device is the plain 1F1B.
DeviceActions one_forward_one_backward(PipelineSize size) { return interleaved(size, 1); }

// Megatron's order: microbatches go through the chunks of a device in rounds of about `devices`
// microbatches; a device runs ahead by one round for each further chunk it holds and by two
// forwards (one for a single chunk) for each device after it, then alternates.
DeviceActions interleaved(PipelineSize size, std::uint32_t chunks) {
  struct Piece {
    std::uint32_t chunk;
    std::uint32_t microbatch;
  };
  // Megatron asks for rounds of exactly `devices` microbatches, PyTorch for equal rounds; rounds
  // that differ by at most one extend both to any number of microbatches.
  const std::uint32_t rounds = std::max(1U, size.microbatches / size.devices);
  const std::vector<std::uint32_t> round_of = even_stages(size.microbatches, rounds);
  std::vector<Piece> forward;
  std::vector<Piece> backward;
  std::uint32_t first_round = 0;
  for (std::uint32_t begin = 0, end = 0; begin < size.microbatches; begin = end) {
    while (end < size.microbatches && round_of[end] == round_of[begin]) ++end;
    if (begin == 0) first_round = end;
    for (std::uint32_t chunk = 0; chunk < chunks; ++chunk) {
      for (std::uint32_t microbatch = begin; microbatch < end; ++microbatch) {
        forward.push_back({chunk, microbatch});
        backward.push_back({chunks - 1 - chunk, microbatch});
      }
    }
  }

  const std::uint32_t lead_per_device = chunks == 1 ? 1 : 2;
  DeviceActions result(size.devices);
  for (std::uint32_t device = 0; device < size.devices; ++device) {
    auto& actions = result[device];
    const auto run = [&](ActionKind kind, const Piece& piece) {
      actions.push_back(action(kind, piece.chunk * size.devices + device, piece.microbatch));
    };
    const std::size_t lead = std::min<std::size_t>(
        forward.size(), (chunks - 1) * first_round + lead_per_device * (size.devices - 1 - device));
    for (std::size_t index = 0; index < forward.size() + lead; ++index) {
      if (index < forward.size()) run(ActionKind::kForward, forward[index]);
      if (index >= lead) run(ActionKind::kBackward, backward[index - lead]);
    }
  }
  return result;
}

// 1F1B with the backward split; device d leaves the weight gradients of d microbatches for later,
// so that every device holds as many microbatches as the first one.
DeviceActions zero_bubble_one(PipelineSize size) {
  DeviceActions result(size.devices);
  for (std::uint32_t device = 0; device < size.devices; ++device) {
    const std::uint32_t lead = std::min(size.devices - 1 - device, size.microbatches);
    const std::uint32_t total = size.microbatches;
    for (std::uint32_t index = 0; index < total + lead + device; ++index) {
      if (index < total) result[device].push_back(action(ActionKind::kForward, device, index));
      if (index >= lead && index - lead < total) {
        result[device].push_back(action(ActionKind::kInputGradient, device, index - lead));
      }
      if (index >= lead + device && index - lead - device < total) {
        result[device].push_back(action(ActionKind::kWeightGradient, device, index - lead - device));
      }
    }
  }
  return result;
}

}  // namespace opweave::detail
