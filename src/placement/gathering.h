/// Placements that send little: what exchanges much is kept together.
#pragma once

#include <optional>
#include <vector>

#include "core/random.h"
#include "opweave/problem.h"

namespace opweave {

struct GatheringOptions {
  std::optional<Duration> largest_load = {};  ///< no stream may be busy for longer
  double noise = 0;  ///< 0: the largest values first; above, chance counts up to so many times their size beside it
};

/// Joins groups along the values that cost most to send, largest first, as long as some device may run all that is
/// joined: it has a mode for it, holds its parameters and each of its tasks, and keeps to the load; and nothing that
/// must be apart is joined. Then each cluster, the largest first, goes where least has to be sent, and of those where
/// least is to do. O((groups + edges) x devices) at worst.
/// \return nothing if a cluster finds no place beside the others, or there are too many devices and groups
[[nodiscard]] std::optional<std::vector<ModeIndex>> gathered_placement(const Problem& problem, Random& random,
                                                                       const GatheringOptions& options = {});

}  // namespace opweave
