#include "experts/greedy_timeline.h"

#include <algorithm>

namespace opweave::detail {

GreedyTimeline::GreedyTimeline(PipelineSize size, std::vector<std::uint32_t> device_of_stage, const StageCosts& costs,
                               std::uint32_t memory_limit)
    : microbatches_(size.microbatches),
      costs_(costs),
      memory_limit_(memory_limit),
      stages_(device_of_stage.size()),
      devices_(size.devices),
      actions_(size.devices) {
  for (std::size_t stage = 0; stage < stages_.size(); ++stage) stages_[stage].device = device_of_stage[stage];
}

std::int64_t GreedyTimeline::largest_span() const {
  std::int64_t result = 0;
  for (const Device& device : devices_) result = std::max(result, device.now - device.first_start);
  return result;
}

std::int64_t GreedyTimeline::makespan() const {
  std::int64_t result = 0;
  for (const Device& device : devices_) result = std::max(result, device.now);
  return result;
}

std::int64_t GreedyTimeline::hop(std::uint32_t from_stage, std::uint32_t to_stage) const {
  return stages_[from_stage].device == stages_[to_stage].device ? 0 : costs_.hop_latency.value();
}

std::optional<std::int64_t> GreedyTimeline::forward_arrival(std::uint32_t stage) const {
  if (stage == 0) return 0;
  const Stage& before = stages_[stage - 1];
  if (before.forwards <= stages_[stage].forwards) return std::nullopt;
  return before.forward_ends[stages_[stage].forwards] + hop(stage - 1, stage);
}

std::optional<std::int64_t> GreedyTimeline::backward_arrival(std::uint32_t stage) const {
  const std::uint32_t next = stages_[stage].backwards;
  if (stage + 1 == stages_.size()) {
    if (stages_[stage].forwards <= next) return std::nullopt;
    return stages_[stage].forward_ends[next];
  }
  if (stages_[stage + 1].backwards <= next) return std::nullopt;
  return stages_[stage + 1].backward_ends[next] + hop(stage + 1, stage);
}

void GreedyTimeline::place(std::uint32_t device_index, const PipelineAction& action, std::int64_t arrival,
                           Duration duration) {
  Device& device = devices_[device_index];
  const std::int64_t start = std::max(device.now, arrival);
  if (device.started) {
    device.bubble += start - device.now;
    largest_bubble_ = std::max(largest_bubble_, device.bubble);
  } else {
    device.first_start = start;
  }
  device.started = true;
  device.now = start + duration.value();
  actions_[device_index].push_back(action);
}

bool GreedyTimeline::forward(std::uint32_t stage_index) {
  Stage& stage = stages_[stage_index];
  const auto arrival = forward_arrival(stage_index);
  if (!arrival || stage.forwards == microbatches_ || full(stage.device)) return false;
  place(stage.device, action(ActionKind::kForward, stage_index, stage.forwards++), *arrival, costs_.forward);
  stage.forward_ends.push_back(now(stage.device));
  ++devices_[stage.device].held;
  return true;
}

bool GreedyTimeline::backward(std::uint32_t stage_index) {
  Stage& stage = stages_[stage_index];
  const auto arrival = backward_arrival(stage_index);
  if (!arrival || stage.backwards == microbatches_) return false;
  devices_[stage.device].pending.push_back(action(ActionKind::kWeightGradient, stage_index, stage.backwards));
  place(stage.device, action(ActionKind::kInputGradient, stage_index, stage.backwards++), *arrival,
        costs_.input_gradient);
  stage.backward_ends.push_back(now(stage.device));
  return true;
}

bool GreedyTimeline::weight_gradient(std::uint32_t device_index) {
  Device& device = devices_[device_index];
  if (device.pending.empty()) return false;
  const PipelineAction next = device.pending.front();
  device.pending.pop_front();
  place(device_index, next, device.now, costs_.weight_gradient);
  --device.held;
  return true;
}

}  // namespace opweave::detail
