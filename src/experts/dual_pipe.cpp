// DualPipe and DualPipeV: the same eight steps. A device works on a *near* stage, through which
// microbatches enter its half of the pipeline, and a *far* stage, through which they leave. In
// DualPipeV the two are the halves of a V; in DualPipe they belong to two copies of the model, whose
// microbatches flow in opposite directions.
#include <deque>

#include "experts/generators.h"

namespace opweave::detail {

namespace {

/// One of the two stages of a device, and how far its microbatches have come.
struct Side {
  std::uint32_t stage;
  std::uint32_t next_forward;
  std::uint32_t next_backward;
};

class Device {
 public:
  /// \param distance      devices between the end where microbatches enter and this one
  /// \param half          devices on the way from that end to the turning point
  /// \param microbatches  per direction
  Device(std::uint32_t distance, std::uint32_t half, std::uint32_t microbatches, Side near, Side far)
      : distance_(distance), half_(half), microbatches_(microbatches), near_(near), far_(far) {}

  std::vector<PipelineAction> run() {
    const bool turning_point = distance_ + 1 == half_;
    const std::uint32_t after = half_ - 1 - distance_;  // devices between this one and the turning point

    repeat(2 * after, [&](std::uint32_t) { forward(near_); });
    repeat(distance_ + 1, [&](std::uint32_t) {
      forward(near_);
      forward(far_);
    });
    repeat(after, [&](std::uint32_t) {
      input_gradient(far_);
      weight_gradient();
      forward(far_);
    });
    repeat(microbatches_ - 2 * half_ + distance_ + 1, [&](std::uint32_t index) {
      // The first pair of the turning point is run as two actions, so that its forward is not held
      // back by a backward that comes later.
      if (index == 0 && turning_point) {
        forward(near_);
        backward(far_);
      } else {
        pair(near_, far_);
      }
      pair(far_, near_);
    });
    repeat(after, [&](std::uint32_t) {
      backward(far_);
      pair(far_, near_);
    });
    // From half of this step on, weight gradients are left for the end.
    const std::uint32_t full_backwards = distance_ + 1;
    std::uint32_t done = 0;
    repeat(distance_ + 1, [&](std::uint32_t) {
      for (Side* side : {&far_, &near_}) {
        done++ < full_backwards ? backward(*side) : input_gradient(*side);
      }
    });
    repeat(after, [&](std::uint32_t) {
      weight_gradient();
      input_gradient(near_);
    });
    repeat(distance_ + 1, [&](std::uint32_t) { weight_gradient(); });
    return std::move(actions_);
  }

 private:
  template <class Step>
  static void repeat(std::uint32_t times, Step step) {
    for (std::uint32_t index = 0; index < times; ++index) step(index);
  }

  void forward(Side& side) { actions_.push_back(action(ActionKind::kForward, side.stage, side.next_forward++)); }
  void backward(Side& side) { actions_.push_back(action(ActionKind::kBackward, side.stage, side.next_backward++)); }
  void input_gradient(Side& side) {
    left_over_.push_back(action(ActionKind::kWeightGradient, side.stage, side.next_backward));
    actions_.push_back(action(ActionKind::kInputGradient, side.stage, side.next_backward++));
  }
  void weight_gradient() {
    actions_.push_back(left_over_.front());
    left_over_.pop_front();
  }
  void pair(Side& forward_side, Side& backward_side) {
    actions_.push_back({ActionKind::kPair, forward_side.stage, forward_side.next_forward++, backward_side.stage,
                        backward_side.next_backward++});
  }

  std::uint32_t distance_;
  std::uint32_t half_;
  std::uint32_t microbatches_;
  Side near_;
  Side far_;
  std::deque<PipelineAction> left_over_;  // weight gradients, first in, first out
  std::vector<PipelineAction> actions_;
};

}  // namespace

std::optional<DeviceActions> dual_pipe(PipelineSize size) {
  const auto [devices, microbatches] = size;
  if (devices % 2 != 0 || microbatches % 2 != 0 || microbatches < 2 * devices) return std::nullopt;
  const std::uint32_t half = devices / 2;
  const std::uint32_t per_direction = microbatches / 2;
  DeviceActions result;
  for (std::uint32_t device = 0; device < devices; ++device) {
    const bool first_half = device < half;
    const std::uint32_t distance = first_half ? device : devices - 1 - device;
    const std::uint32_t near_first = first_half ? 0 : per_direction;
    const std::uint32_t far_first = per_direction - near_first;
    result.push_back(Device(distance, half, per_direction, {distance, near_first, near_first},
                            {devices - 1 - distance, far_first, far_first})
                         .run());
  }
  return result;
}

std::optional<DeviceActions> dual_pipe_v(PipelineSize size) {
  const auto [devices, microbatches] = size;
  if (microbatches < 2 * devices) return std::nullopt;
  DeviceActions result;
  for (std::uint32_t device = 0; device < devices; ++device) {
    result.push_back(Device(device, devices, microbatches, {device, 0, 0}, {2 * devices - 1 - device, 0, 0}).run());
  }
  return result;
}

}  // namespace opweave::detail
