/// The definitions of the published schedules, one function each; experts.cpp chooses among them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "opweave/experts.h"

namespace opweave::detail {

/// Actions of every device, in order.
using DeviceActions = std::vector<std::vector<PipelineAction>>;

/// Sizes of a generated schedule; both at least 1.
struct PipelineSize {
  std::uint32_t devices = 1;
  std::uint32_t microbatches = 1;
};

/// How microbatches go through the stages of a loop.
struct LoopSize {
  PipelineSize size;
  std::uint32_t chunks = 2;
  std::optional<std::uint32_t> group;  ///< as ExpertSize::group
};

inline PipelineAction action(ActionKind kind, std::uint32_t stage, std::uint32_t microbatch) {
  return {kind, stage, microbatch, 0, 0};
}

// Orders that follow from counting (counted_orders.cpp).
[[nodiscard]] DeviceActions gpipe(PipelineSize size);
[[nodiscard]] DeviceActions one_forward_one_backward(PipelineSize size);
[[nodiscard]] DeviceActions interleaved(const LoopSize& loop);
[[nodiscard]] DeviceActions interleaved_zero_bubble(const LoopSize& loop);
[[nodiscard]] DeviceActions looped_breadth_first(const LoopSize& loop);
[[nodiscard]] DeviceActions zero_bubble_one(PipelineSize size);

// Greedy searches over times and memory (zero_bubble_two.cpp, zero_bubble_v.cpp).
[[nodiscard]] std::optional<DeviceActions> zero_bubble_two(PipelineSize size, const StageCosts& costs);
[[nodiscard]] std::optional<DeviceActions> zero_bubble_v(PipelineSize size, const StageCosts& costs);

// Repeated blocks squeezed under their own memory (controllable_memory.cpp).
[[nodiscard]] DeviceActions v_half(PipelineSize size);
[[nodiscard]] DeviceActions v_min(PipelineSize size);

// Eight steps (dual_pipe.cpp).
[[nodiscard]] std::optional<DeviceActions> dual_pipe(PipelineSize size);
[[nodiscard]] std::optional<DeviceActions> dual_pipe_v(PipelineSize size);

}  // namespace opweave::detail
