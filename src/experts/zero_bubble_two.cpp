// ZB-2P: the greedy search of the zero-bubble paper for one stage per device, with room for twice
// as many activations as 1F1B holds.
#include <algorithm>

#include "experts/greedy_timeline.h"

namespace opweave::detail {

namespace {

/// The choices that the published search leaves open; it tries all combinations.
struct TwoChunkChoices {
  bool warm_up_past_first_backward;  ///< a warm-up forward may end after the first I could start, rather than leave a
                                     ///< gap
  bool forward_waits;                ///< skip a round's forward if the next device could not use it yet
  bool overrun_within_slack;         ///< run a W over a gap even if the gap would not lengthen the longest bubble
};

class TwoChunkSearch {
 public:
  TwoChunkSearch(PipelineSize size, const StageCosts& costs, const TwoChunkChoices& choices)
      : devices_(size.devices),
        microbatches_(size.microbatches),
        costs_(costs),
        choices_(choices),
        limit_(2 * size.devices),
        timeline_(size, identity(size.devices), costs, limit_) {}

  /// False where the memory does not allow the order that the choices lead to.
  bool run() {
    warm_up();
    for (std::uint32_t round = 1; round < microbatches_; ++round) {
      for (std::uint32_t device : forward_devices()) {
        if (!forward(device)) return false;
      }
      for (std::uint32_t device = devices_; device-- > 0;) {
        if (!backward(device)) return false;
      }
    }
    for (std::uint32_t device = 0; device < devices_; ++device) {
      while (timeline_.weight_gradient(device)) {
      }
    }
    return true;
  }

  [[nodiscard]] GreedyTimeline& timeline() { return timeline_; }

 private:
  static std::vector<std::uint32_t> identity(std::uint32_t count) { return even_stages(count, count); }

  /// The first forward everywhere, further forwards while the first backward is on its way, and that backward.
  void warm_up() {
    for (std::uint32_t device = 0; device < devices_; ++device) timeline_.forward(device);
    std::vector<std::uint32_t> extra(devices_, 0);
    std::int64_t first_backward_end = timeline_.now(devices_ - 1) + costs_.input_gradient.value();
    for (std::uint32_t device = devices_ - 1; device-- > 0;) {
      const std::int64_t arrival = first_backward_end + costs_.hop_latency.value();
      const std::int64_t forward = costs_.forward.value();
      std::int64_t end = timeline_.now(device);
      while (1 + extra[device] < std::min(microbatches_, limit_) &&
             (choices_.warm_up_past_first_backward ? end < arrival : end + forward <= arrival)) {
        ++extra[device];
        end += forward;
      }
      first_backward_end = std::max(end, arrival) + costs_.input_gradient.value();
    }
    // A device cannot run ahead of the one before it.
    for (std::uint32_t device = 1; device < devices_; ++device) {
      while (extra[device] > 0 && extra[device] >= extra[device - 1] && 1 + extra[device] < microbatches_) {
        --extra[device];
      }
    }
    for (std::uint32_t device = 0; device < devices_; ++device) {
      for (std::uint32_t count = 0; count < extra[device]; ++count) timeline_.forward(device);
    }
    for (std::uint32_t device = devices_; device-- > 0;) timeline_.backward(device);
  }

  /// Devices that run a forward in this round: as far as possible down the pipeline without a hole.
  std::vector<std::uint32_t> forward_devices() {
    std::vector<bool> runs(devices_);
    for (std::uint32_t device = 0; device < devices_; ++device) {
      runs[device] = timeline_.forwards(device) < microbatches_ && !better_to_wait(device);
    }
    std::vector<std::uint32_t> result;
    bool blocked = false;
    for (std::uint32_t device = devices_; device-- > 0;) {
      blocked = blocked || !runs[device];
      if (!blocked) result.push_back(device);
    }
    std::reverse(result.begin(), result.end());
    return result;
  }

  /// Is the device ahead of the next one, and would its forward delay a backward for nothing?
  [[nodiscard]] bool better_to_wait(std::uint32_t device) const {
    if (!choices_.forward_waits || device + 1 == devices_) return false;
    if (timeline_.forwards(device) < timeline_.forwards(device + 1) + 2) return false;
    const std::int64_t next_backward_arrival =
        timeline_.now(device + 1) + costs_.forward.value() + costs_.input_gradient.value() + costs_.hop_latency.value();
    const std::int64_t now = timeline_.now(device);
    if (now >= next_backward_arrival) return true;
    // Weight gradients that would have to make room first.
    const bool needs_room = timeline_.full(device) && timeline_.has_weight_gradient(device);
    const std::int64_t end = now + costs_.forward.value() + (needs_room ? costs_.weight_gradient.value() : 0);
    if (end <= next_backward_arrival) return false;
    return next_backward_arrival - now <= slack(device);
  }

  /// By how much the device's bubble is shorter than the longest one.
  [[nodiscard]] std::int64_t slack(std::uint32_t device) const {
    return timeline_.largest_bubble() - timeline_.bubble(device);
  }

  /// Weight gradients until the next input arrives, and perhaps one beyond.
  void fill_gap(std::uint32_t device, std::optional<std::int64_t> arrival) {
    if (!arrival) return;
    timeline_.weight_gradients_until(device, *arrival);
    const std::int64_t gap = *arrival - timeline_.now(device);
    if (gap > 0 && (gap > slack(device) || choices_.overrun_within_slack)) timeline_.weight_gradient(device);
  }

  bool forward(std::uint32_t device) {
    while (timeline_.full(device)) {
      if (!timeline_.weight_gradient(device)) return false;
    }
    if (device > 0) fill_gap(device, timeline_.forward_arrival(device));
    return timeline_.forward(device);
  }

  bool backward(std::uint32_t device) {
    if (device + 1 < devices_) fill_gap(device, timeline_.backward_arrival(device));
    // Nothing waits for the first device's backwards once its forwards are done.
    if (device == 0 && timeline_.forwards(0) == microbatches_) {
      while (timeline_.weight_gradient(device)) {
      }
    }
    return timeline_.backward(device);
  }

  std::uint32_t devices_;
  std::uint32_t microbatches_;
  StageCosts costs_;
  TwoChunkChoices choices_;
  std::uint32_t limit_;
  GreedyTimeline timeline_;
};

}  // namespace

std::optional<DeviceActions> zero_bubble_two(PipelineSize size, const StageCosts& costs) {
  std::optional<DeviceActions> best;
  std::int64_t best_span = 0;
  for (const bool past : {false, true}) {
    for (const bool waits : {true, false}) {
      for (const bool overrun : {true, false}) {
        TwoChunkSearch search(size, costs, {past, waits, overrun});
        if (!search.run()) continue;
        const std::int64_t span = search.timeline().largest_span();
        if (best && span >= best_span) continue;
        best = search.timeline().take_actions();
        best_span = span;
      }
    }
  }
  return best;
}

}  // namespace opweave::detail
