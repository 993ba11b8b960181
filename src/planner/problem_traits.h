/// What of a problem decides which methods work on it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "opweave/problem.h"

namespace opweave {

/// Found out once per search. Every method says by `supports(traits)` whether it is of use, and keeps the numbers that
/// this depends on beside its others.
struct ProblemTraits {
  /// O(tasks + groups). The problem outlives its traits.
  explicit ProblemTraits(const Problem& of);

  const Problem& problem;
  std::size_t tasks = 0;
  std::uint32_t microbatches = 1;
  bool has_open_placement = false;  ///< some group has several options
  bool can_be_merged = false;       ///< as coarsen::can_merge says
};

}  // namespace opweave
