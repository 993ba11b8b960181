/// Placement of consecutive parts of a graph on consecutive devices.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "opweave/problem.h"

namespace opweave {

/// How the consecutive parts lie on the devices.
enum class Fold : std::uint8_t {
  kOnce,          ///< a part per device
  kThereAndBack,  ///< two parts per device: up, then down (V)
  kTwiceAround,   ///< two parts per device: up, then up again (loop)
};

/// What the parts share equally.
enum class PartWeight : std::uint8_t { kWork, kBytes };

/// Cuts the groups, in the order of their first task, into consecutive parts whose largest weight is as
/// small as possible, and lays the parts over the devices; later replicas run the other way round.
/// A group that may not run on its part's device goes to the nearest device (in order of id) where it
/// may. Nothing if some group fits nowhere. O(groups log(weight) + groups x devices).
[[nodiscard]] std::optional<std::vector<ModeIndex>> contiguous_placement(const Problem& problem, Fold fold,
                                                                         PartWeight weight);

}  // namespace opweave
