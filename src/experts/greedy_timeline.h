/// The partial schedule that the greedy zero-bubble searches extend, one action at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "experts/generators.h"

namespace opweave::detail {

/// Actions placed so far, with times. F and I of a stage take its microbatches in order; W takes the
/// oldest finished I of the device. Memory counts activations of one stage from F to W.
class GreedyTimeline {
 public:
  /// \param device_of_stage  one entry per stage; stages in the order of the forward
  GreedyTimeline(PipelineSize size, std::vector<std::uint32_t> device_of_stage, const StageCosts& costs,
                 std::uint32_t memory_limit);

  [[nodiscard]] std::uint32_t forwards(std::uint32_t stage) const { return stages_[stage].forwards; }
  [[nodiscard]] std::uint32_t backwards(std::uint32_t stage) const { return stages_[stage].backwards; }
  [[nodiscard]] std::int64_t now(std::uint32_t device) const { return devices_[device].now; }
  [[nodiscard]] std::uint32_t held(std::uint32_t device) const { return devices_[device].held; }
  [[nodiscard]] bool has_weight_gradient(std::uint32_t device) const { return !devices_[device].pending.empty(); }
  /// Idle time since the device's first action.
  [[nodiscard]] std::int64_t bubble(std::uint32_t device) const { return devices_[device].bubble; }
  [[nodiscard]] std::int64_t largest_bubble() const { return largest_bubble_; }
  /// Largest, over devices, time between a device's first start and last end.
  [[nodiscard]] std::int64_t largest_span() const;
  /// Latest end so far.
  [[nodiscard]] std::int64_t makespan() const;
  [[nodiscard]] bool full(std::uint32_t device) const { return held(device) >= memory_limit_; }

  /// Moment at which the input of the stage's next F (or I) is on its device; nothing while what makes
  /// it has not been placed. The first stage's F has no input, so it has arrived at time 0.
  [[nodiscard]] std::optional<std::int64_t> forward_arrival(std::uint32_t stage) const;
  [[nodiscard]] std::optional<std::int64_t> backward_arrival(std::uint32_t stage) const;

  // Each places the next action of its kind as early as possible. False, and nothing placed, where
  // the input does not exist yet, all microbatches are done, or (F) memory is full.
  bool forward(std::uint32_t stage);
  bool backward(std::uint32_t stage);
  bool weight_gradient(std::uint32_t device);

  /// Runs weight gradients that end by `deadline`.
  void weight_gradients_until(std::uint32_t device, std::int64_t deadline) {
    while (has_weight_gradient(device) && now(device) + costs_.weight_gradient.value() <= deadline) {
      weight_gradient(device);
    }
  }

  [[nodiscard]] DeviceActions take_actions() { return std::move(actions_); }

 private:
  struct Stage {
    std::uint32_t device = 0;
    std::uint32_t forwards = 0;
    std::uint32_t backwards = 0;
    std::vector<std::int64_t> forward_ends;
    std::vector<std::int64_t> backward_ends;
  };
  struct Device {
    bool started = false;
    std::int64_t first_start = 0;
    std::int64_t now = 0;
    std::int64_t bubble = 0;
    std::uint32_t held = 0;
    std::deque<PipelineAction> pending;
  };
  void place(std::uint32_t device, const PipelineAction& action, std::int64_t arrival, Duration duration);
  [[nodiscard]] std::int64_t hop(std::uint32_t from_stage, std::uint32_t to_stage) const;

  std::uint32_t microbatches_;
  StageCosts costs_;
  std::uint32_t memory_limit_;
  std::vector<Stage> stages_;
  std::vector<Device> devices_;
  std::int64_t largest_bubble_ = 0;  // bubbles only grow
  DeviceActions actions_;
};

}  // namespace opweave::detail
