/// The banker's test of the list scheduler: may an activity start without blocking the rest for ever?
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "list_scheduling/placed_problem.h"
#include "list_scheduling/range_max.h"
#include "list_scheduling/reference_order.h"

namespace opweave {

/// Follows the memory of every device in two ways: what is resident now, and what would be resident at
/// each remaining step if all activities that have not started were run one at a time in the reference
/// order. Invariant: the second never exceeds a capacity, so the first remaining activity of the reference
/// order can always start once nothing else runs.
class MemoryGuard {
 public:
  /// Each device has room for all that is ever there, and all workspaces beside: a guard would admit everything.
  [[nodiscard]] static bool has_room_for_all(const PlacedProblem& placed);

  /// \pre reference.fits
  MemoryGuard(const PlacedProblem& placed, const ReferenceOrder& reference);

  /// The activity fits now, and what it brings fits beside every earlier step of the reference order.
  [[nodiscard]] bool admits(ActivityId activity);
  /// \pre admits(activity), and its predecessors have finished.
  void start(ActivityId activity);
  /// Calls freed(device) for each device on which the activity's end released memory.
  template <class Freed>
  void finish(ActivityId activity, Freed freed) {
    finish_activity(activity);
    for (const DeviceId device : freed_) freed(device);
  }

 private:
  struct Place {
    DeviceId device;
    std::uint32_t step;  ///< position among the activities of the reference order that touch the device
  };
  struct Demand {
    DeviceId device;
    std::int64_t now = 0;    ///< bytes while the activity runs
    std::int64_t later = 0;  ///< bytes that stay after it
  };
  [[nodiscard]] std::uint32_t step_on(ActivityId activity, DeviceId device) const;
  void number_steps(const ReferenceOrder& reference);
  void lay_out_lifetimes();
  void collect_demand(ActivityId activity);
  void finish_activity(ActivityId activity);
  void release(DeviceId device, std::int64_t bytes);

  const PlacedProblem& placed_;
  detail::Lists<Place> places_;   ///< per activity
  std::vector<RangeMax> serial_;  ///< per device: bytes at each step of the reference order
  std::vector<std::int64_t> resident_;
  std::vector<std::uint32_t> first_step_;  ///< per residence
  struct Use {
    std::uint32_t step;
    ActivityId activity;
  };
  std::vector<std::vector<Use>> uses_;  ///< per residence, ascending; the last one is unfinished
  std::vector<std::uint32_t> users_left_;
  std::vector<bool> live_;
  std::vector<bool> finished_;
  std::vector<Demand> demand_;  ///< of the activity that is being looked at
  std::vector<DeviceId> freed_;
};

}  // namespace opweave
