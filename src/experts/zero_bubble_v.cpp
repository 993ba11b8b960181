// ZB-V: the greedy search of the zero-bubble paper for the V placement. A microbatch crosses the
// devices four times: its forward goes down the V on the first stages and up on the second ones, its
// backward down on the second stages and up on the first ones. Those are legs 0 to 3.
#include <algorithm>

#include "experts/greedy_timeline.h"

namespace opweave::detail {

namespace {

/// When a weight gradient may delay what comes next, although its gap alone would be shorter.
struct VChoices {
  bool delay_forward;
  bool delay_backward_down;  ///< of leg 2; leg 3 may always be delayed
  bool delay_on_tie;         ///< delay even if idling would only make the bubble as long as the longest
};

std::vector<std::uint32_t> v_devices(std::uint32_t devices) {
  std::vector<std::uint32_t> result;
  for (std::uint32_t stage = 0; stage < 2 * devices; ++stage) {
    result.push_back(device_of_stage(PipelineShape::kV, stage, 0, devices));
  }
  return result;
}

class VSearch {
 public:
  /// \param earlier_bubbles  bubbles of an earlier run with the same choices: devices that had less
  ///                         than the most may idle that much more here; empty for the first run
  VSearch(PipelineSize size, const StageCosts& costs, const VChoices& choices,
          std::vector<std::int64_t> earlier_bubbles)
      : devices_(size.devices),
        microbatches_(size.microbatches),
        costs_(costs),
        choices_(choices),
        limit_(2 * size.devices),
        earlier_bubbles_(std::move(earlier_bubbles)),
        timeline_(size, v_devices(size.devices), costs, limit_) {
    if (!earlier_bubbles_.empty()) {
      most_earlier_ = *std::max_element(earlier_bubbles_.begin(), earlier_bubbles_.end());
    }
  }

  /// False where the search runs into its own memory or into an input that does not exist yet.
  bool run() {
    if (!first_microbatch() || !level_forwards()) return false;
    for (std::uint32_t round = 0; round < 2 * microbatches_; ++round) {
      if (!backward_round() || !forward_round()) return false;
    }
    for (std::uint32_t device = 0; device < devices_; ++device) {
      while (timeline_.weight_gradient(device)) {
      }
    }
    return true;
  }

  [[nodiscard]] GreedyTimeline& timeline() { return timeline_; }
  [[nodiscard]] std::vector<std::int64_t> bubbles() const {
    std::vector<std::int64_t> result;
    for (std::uint32_t device = 0; device < devices_; ++device) result.push_back(timeline_.bubble(device));
    return result;
  }

 private:
  [[nodiscard]] std::uint32_t first(std::uint32_t device) const { return device; }
  [[nodiscard]] std::uint32_t second(std::uint32_t device) const { return 2 * devices_ - 1 - device; }

  /// The first microbatch through both forward legs; forwards of leg 0 on all devices before as long as they
  /// end before its return.
  bool first_microbatch() {
    for (std::uint32_t device = 0; device < devices_; ++device) {
      if (!timeline_.forward(first(device))) return false;
    }
    for (std::uint32_t device = devices_; device-- > 0;) {
      if (device + 1 < devices_) {
        const auto arrival = timeline_.forward_arrival(second(device));
        // Every later device still has to find room for the microbatches let in here.
        while (timeline_.held(device) + 2 * device + 2 <= limit_ && timeline_.forwards(device) < microbatches_ &&
               timeline_.now(device) + costs_.forward.value() <= arrival) {
          for (std::uint32_t upstream = 0; upstream <= device; ++upstream) {
            if (!timeline_.forward(first(upstream))) return false;
          }
        }
      }
      if (!timeline_.forward(second(device))) return false;
    }
    return true;
  }

  /// Brings every device to as many forwards as the one before it, legs in turn.
  bool level_forwards() {
    bool down = true;
    for (std::uint32_t device = 1; device < devices_; ++device) {
      const auto behind = [&] {
        const std::uint32_t here = timeline_.forwards(second(device));
        const std::uint32_t before = timeline_.forwards(second(device - 1));
        return here + timeline_.forwards(first(device)) < before + timeline_.forwards(first(device - 1)) ||
               (here <= before && before < microbatches_);
      };
      while (behind()) {
        for (std::uint32_t later = devices_; later-- > device;) {
          const std::uint32_t stage = down ? first(later) : second(later);
          if (timeline_.forwards(stage) < microbatches_ && !timeline_.forward(stage)) return false;
        }
        down = !down;
      }
    }
    return true;
  }

  /// By how much the device may idle without lengthening the longest bubble.
  [[nodiscard]] std::int64_t slack(std::uint32_t device) const {
    std::int64_t longest = timeline_.largest_bubble();
    if (!earlier_bubbles_.empty()) longest = std::max(longest, most_earlier_ - earlier_bubbles_[device]);
    return longest - timeline_.bubble(device);
  }

  /// Weight gradients until the next input arrives, and perhaps one beyond.
  void fill_gap(std::uint32_t device, std::optional<std::int64_t> arrival, bool may_delay) {
    if (!arrival) return;
    timeline_.weight_gradients_until(device, *arrival);
    const std::int64_t gap = *arrival - timeline_.now(device);
    if (may_delay && (gap > slack(device) || (gap == slack(device) && choices_.delay_on_tie)))
      timeline_.weight_gradient(device);
  }

  /// One backward on every device: leg 3 wherever its input exists, else leg 2.
  bool backward_round() {
    std::vector<std::uint32_t> up;
    std::vector<std::uint32_t> down;
    for (std::uint32_t device = 0; device < devices_; ++device) {
      const std::uint32_t done_down = timeline_.backwards(second(device));
      const bool turned = timeline_.backwards(first(device)) < done_down;
      const bool arrived = timeline_.backward_arrival(first(device)).has_value() || done_down == microbatches_;
      (turned && arrived ? up : down).push_back(device);
    }
    for (auto device = up.rbegin(); device != up.rend(); ++device) {
      if (*device + 1 < devices_) fill_gap(*device, timeline_.backward_arrival(first(*device)), true);
      if (!timeline_.backward(first(*device))) return false;
    }
    for (const std::uint32_t device : down) {
      if (device > 0) fill_gap(device, timeline_.backward_arrival(second(device)), choices_.delay_backward_down);
      if (!timeline_.backward(second(device))) return false;
    }
    return true;
  }

  /// One forward on every device that has one left: leg 1 wherever its input exists, else leg 0.
  bool forward_round() {
    for (std::uint32_t device = 0; device < devices_; ++device) {
      if (timeline_.forwards(second(device)) == microbatches_) continue;
      const bool turned = timeline_.forwards(second(device)) < timeline_.forwards(first(device));
      const bool up = turned && timeline_.forward_arrival(second(device));
      if (!up && turned && timeline_.forwards(first(device)) == microbatches_) continue;
      if (!up && turned && !timeline_.forward_arrival(first(device))) continue;
      const std::uint32_t stage = up ? second(device) : first(device);
      while (timeline_.full(device)) {
        if (!timeline_.weight_gradient(device)) return false;
      }
      const bool from_elsewhere = up ? device + 1 < devices_ : device > 0;
      if (from_elsewhere) fill_gap(device, timeline_.forward_arrival(stage), choices_.delay_forward);
      if (!timeline_.forward(stage)) return false;
    }
    return true;
  }

  std::uint32_t devices_;
  std::uint32_t microbatches_;
  StageCosts costs_;
  VChoices choices_;
  std::uint32_t limit_;
  std::vector<std::int64_t> earlier_bubbles_;
  std::int64_t most_earlier_ = 0;
  GreedyTimeline timeline_;
};

}  // namespace

std::optional<DeviceActions> zero_bubble_v(PipelineSize size, const StageCosts& costs) {
  std::optional<DeviceActions> best;
  std::int64_t best_makespan = 0;
  const auto search_with = [&](const VChoices& choices) {
    std::vector<std::int64_t> earlier_bubbles;
    std::optional<std::int64_t> earlier_bubble;
    while (true) {
      VSearch search(size, costs, choices, earlier_bubbles);
      if (!search.run()) return;
      const std::int64_t makespan = search.timeline().makespan();
      const std::int64_t bubble = search.timeline().largest_bubble();
      earlier_bubbles = search.bubbles();
      if (!best || makespan < best_makespan) {
        best = search.timeline().take_actions();
        best_makespan = makespan;
      }
      if (earlier_bubble && bubble >= *earlier_bubble) return;
      earlier_bubble = bubble;
    }
  };
  for (const bool on_tie : {false, true}) {
    for (const bool delay_down : {true, false}) {
      for (const bool delay_forward : {true, false}) search_with({delay_forward, delay_down, on_tie});
    }
  }
  return best;
}

}  // namespace opweave::detail
