/// What placements lay over the devices: groups that go together, in the order of the graph.
#pragma once

#include <cstdint>
#include <vector>

#include "opweave/cut.h"
#include "opweave/problem.h"
#include "placement/placement_state.h"

namespace opweave {

/// What parts share equally.
enum class PartWeight : std::uint8_t { kWork, kBytes };

/// Groups that go to one device together: one bound group, or all copies of an operator that nothing binds.
struct PlacementBundle {
  std::vector<GroupId> groups;
  std::int64_t weight = 0;
};

/// The bundles of each replica, in the order of their first task. O(tasks log(operators)).
[[nodiscard]] std::vector<std::vector<PlacementBundle>> bundles_by_replica(const Problem& problem, PartWeight weight);

/// Part of each weight when a row of them is cut into consecutive parts that lie on devices in rounds: cut_stages(),
/// with no more effort than a first guess is worth. \pre at least as many weights as parts.
[[nodiscard]] std::vector<std::uint32_t> cut_by_weight(const std::vector<std::int64_t>& weights,
                                                       const StageRounds& rounds);

/// Places the groups of a bundle on the wanted device, or on the nearest one (in order of id) where they may run and
/// fit, then on whatever gangs there are. False if some group fits nowhere.
[[nodiscard]] bool place_bundle(const Problem& problem, PlacementState& state, const PlacementBundle& bundle,
                                DeviceId wanted);

}  // namespace opweave
