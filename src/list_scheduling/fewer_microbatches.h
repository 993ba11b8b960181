/// A problem of fewer microbatches, to try on it what is then done with all of them.
#pragma once

#include <cstdint>
#include <vector>

#include "opweave/problem.h"

namespace opweave {

/// The microbatch of `all` that number `index` of `some` stands for: evenly spread.
[[nodiscard]] constexpr std::uint32_t sampled_microbatch(std::uint32_t index, std::uint32_t some, std::uint32_t all) {
  return static_cast<std::uint32_t>(std::uint64_t{index} * all / some);
}

/// The same graph, cluster and settings with at most `most` microbatches, each in the replica of the one that it stands
/// for; the problem itself if it has no more. \pre most is at least the number of replicas. O(tasks of the result).
[[nodiscard]] Problem with_fewer_microbatches(const Problem& problem, std::uint32_t most);

/// The modes that those of all tasks of the problem give to the tasks of one with fewer microbatches.
[[nodiscard]] std::vector<ModeIndex> fewer_modes(const Problem& problem, const Problem& fewer,
                                                 const std::vector<ModeIndex>& modes);

}  // namespace opweave
