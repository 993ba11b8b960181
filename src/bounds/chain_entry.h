/// How late devices come to the layers of a chain.
#pragma once

#include <vector>

#include "bounds/bound_context.h"

namespace opweave::bounds {

/// Where all groups form a chain, a device cannot begin with its first group before a microbatch has run through groups
/// of all the devices that begin before it, and where gradients return the same way, it does not work at the end
/// either. By kind of device (one of each is given) the least that the 1st, 2nd, ... device of the kind to begin misses
/// in this way, ascending from 0; empty where the groups form no chain. O(operators + edges) per kind.
[[nodiscard]] std::vector<std::vector<Nanoseconds>> chain_entries(const Problem& problem,
                                                                  const std::vector<DeviceId>& kinds);

}  // namespace opweave::bounds
