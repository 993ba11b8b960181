/// Placement of consecutive parts of a graph on consecutive devices.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "opweave/problem.h"
#include "placement/placement_bundles.h"

namespace opweave {

/// How consecutive parts lie on the devices when there are several rounds of them.
enum class Fold : std::uint8_t {
  kLoop,    ///< every round goes up: 0 1 2 3, 0 1 2 3
  kZigzag,  ///< rounds go up and down in turn: 0 1 2 3, 3 2 1 0 (two rounds: V)
};

/// Where the other replicas lie, relative to the first.
enum class Shift : std::uint8_t {
  kReversed,  ///< every second replica the other way round (DualPipe): devices that begin late with one begin early
              ///< with the other
  kRotated,   ///< replica r of R by r / R of the devices: on every device the replicas take turns
  kApart,     ///< each replica on its own share of the devices: replicas never meet, and every part is smaller
  kTogether,  ///< on the same devices: one copy of the parameters, whose memory is left for activations
};

/// Cuts the groups, in the order of their first task, into rounds x devices consecutive parts such that the largest
/// weight on a device is small, and then the largest of a part (cut_stages), and lays the parts over the devices. A
/// group that may not run on its part's device goes to the nearest device (in order of id) where it may. Nothing if
/// some group fits nowhere, if there are more parts than groups to cut although rounds > 1, or if the devices cannot be
/// shared out evenly. O(groups log(weight) + groups x devices).
[[nodiscard]] std::optional<std::vector<ModeIndex>> contiguous_placement(const Problem& problem, Fold fold,
                                                                         std::uint32_t rounds, PartWeight weight,
                                                                         Shift shift = Shift::kReversed);

}  // namespace opweave
