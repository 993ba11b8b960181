/// First placements of graphs with branches.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "opweave/problem.h"

namespace opweave {

/// How the branches of a graph share the devices.
enum class BranchLayout : std::uint8_t {
  kApart,   ///< each branch has devices of its own, as many as its work needs: branches run in parallel
  kSpread,  ///< each branch is cut over all devices, so that every device has its share of every branch
};

/// The branches of a graph (branches.h) over the devices.
///  - kApart cuts every branch into consecutive parts on devices of its own, as few as keep the longest part of all as
///    short as possible (the stages of GraphPipe, arXiv 2406.17145); branches too small for a device of
///    their own go where least work is;
///  - kSpread cuts every branch into `rounds` parts per device (fewer where it is short), coarse branches first, so
///  that
///    every device gets of each what it lacks to the mean. A branch begins where the branch before it ends, and rounds
///    go up and down in turn; of branches that run at the same time every second one goes the other way. Those with
///    fewer groups than devices go where least work is.
/// Every second replica runs the other way round. A group that may not run, or whose parameters do not fit, where it
/// is wanted goes to the nearest device (in order of id) where it may. Nothing for a graph that is one chain or
/// hardly has chains (more than half as many branches as groups), or if some group fits nowhere. O(groups log(work) +
/// groups x devices).
[[nodiscard]] std::optional<std::vector<ModeIndex>> branch_placement(const Problem& problem, BranchLayout layout,
                                                                     std::uint32_t rounds = 1);

}  // namespace opweave
