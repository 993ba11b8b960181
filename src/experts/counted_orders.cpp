// Schedules whose order follows from counting alone: GPipe, 1F1B, ZB1P, and those on loops.
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

namespace {

/// How an order runs ahead: forwards for each further device before its first backward, and whether the weight
/// gradients wait for as many further backwards as the number of the device.
struct Lead {
  std::uint32_t forwards_per_device;
  bool splits_backward;
};

/// How many microbatches go through a chunk before the next chunk, round by round. Megatron asks for rounds of exactly
/// `devices` microbatches or of a group size of the user's, PyTorch for equal rounds; rounds that differ by at most one
/// extend both to any number of microbatches.
std::vector<std::uint32_t> rounds_of_microbatches(const LoopSize& loop) {
  const std::uint32_t total = loop.size.microbatches;
  std::vector<std::uint32_t> result;
  if (loop.group) {
    for (std::uint32_t begin = 0; begin < total; begin += *loop.group) {
      result.push_back(std::min(*loop.group, total - begin));
    }
    return result;
  }
  result.assign(std::max(1U, total / loop.size.devices), 0);
  for (const std::uint32_t round : even_stages(total, static_cast<std::uint32_t>(result.size()))) ++result[round];
  return result;
}

/// Megatron's order: microbatches go through the chunks of a device in rounds; a device runs ahead by one round for
/// each further chunk it holds and by some forwards for each device after it, then alternates.
DeviceActions in_rounds(const LoopSize& loop, const Lead& lead) {
  struct Pass {
    std::uint32_t chunk;
    std::uint32_t microbatch;
  };
  const std::uint32_t devices = loop.size.devices;
  const std::vector<std::uint32_t> rounds = rounds_of_microbatches(loop);
  std::vector<Pass> forward;
  std::vector<Pass> backward;
  std::uint32_t begin = 0;
  for (const std::uint32_t round : rounds) {
    for (std::uint32_t chunk = 0; chunk < loop.chunks; ++chunk) {
      for (std::uint32_t microbatch = begin; microbatch < begin + round; ++microbatch) {
        forward.push_back({chunk, microbatch});
        backward.push_back({loop.chunks - 1 - chunk, microbatch});
      }
    }
    begin += round;
  }

  DeviceActions result(devices);
  for (std::uint32_t device = 0; device < devices; ++device) {
    const auto run = [&](ActionKind kind, const Pass& pass) {
      result[device].push_back(action(kind, pass.chunk * devices + device, pass.microbatch));
    };
    const std::size_t total = forward.size();
    const std::size_t ahead = std::min<std::size_t>(
        total, (loop.chunks - 1) * rounds.front() + lead.forwards_per_device * (devices - 1 - device));
    const std::size_t delay = lead.splits_backward ? device : 0;
    for (std::size_t index = 0; index < total + ahead + delay; ++index) {
      if (index < total) run(ActionKind::kForward, forward[index]);
      if (index >= ahead && index - ahead < total) {
        run(lead.splits_backward ? ActionKind::kInputGradient : ActionKind::kBackward, backward[index - ahead]);
      }
      if (lead.splits_backward && index >= ahead + delay && index - ahead - delay < total) {
        run(ActionKind::kWeightGradient, backward[index - ahead - delay]);
      }
    }
  }
  return result;
}

}  // namespace

// Plain 1F1B is the order of one chunk, in which gradients come back by one device for each that forwards go on.
DeviceActions one_forward_one_backward(PipelineSize size) { return in_rounds({size, 1, {}}, {1, false}); }

DeviceActions interleaved(const LoopSize& loop) { return in_rounds(loop, {2, false}); }

// 1F1B with the backward split; device d leaves the weight gradients of d microbatches for later,
// so that every device holds as many microbatches as the first one.
DeviceActions zero_bubble_one(PipelineSize size) { return in_rounds({size, 1, {}}, {1, true}); }

// The same with several chunks, as PyTorch defines it.
DeviceActions interleaved_zero_bubble(const LoopSize& loop) { return in_rounds(loop, {1, true}); }

// All microbatches through one chunk before the next; backwards in exactly the opposite order.
DeviceActions looped_breadth_first(const LoopSize& loop) {
  DeviceActions result(loop.size.devices);
  for (std::uint32_t device = 0; device < loop.size.devices; ++device) {
    for (std::uint32_t chunk = 0; chunk < loop.chunks; ++chunk) {
      for (std::uint32_t microbatch = 0; microbatch < loop.size.microbatches; ++microbatch) {
        result[device].push_back(action(ActionKind::kForward, chunk * loop.size.devices + device, microbatch));
      }
    }
    for (std::size_t forward = result[device].size(); forward-- > 0;) {
      const PipelineAction made = result[device][forward];
      result[device].push_back(action(ActionKind::kBackward, made.stage, made.microbatch));
    }
  }
  return result;
}

}  // namespace opweave::detail
