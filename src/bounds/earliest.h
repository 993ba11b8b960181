/// Heads and tails: the earliest start of every task, and the least time from its end to the end of
/// the plan.
#pragma once

#include <string>
#include <vector>

#include "bounds/memory_pools.h"
#include "bounds/relaxation.h"

namespace opweave::bounds {

/// Time runs forward (heads) or backward from the end of the plan (tails). Backward, a task "starts"
/// where it ends, its successors come before it, and a value is taken by its last use and released by
/// its making.
enum class Direction { kForward, kBackward };

/// Per task: its head forward, its tail backward.
using Earliest = std::vector<Nanoseconds>;

/// Longest paths, with the copies of a class one after the other.
[[nodiscard]] Earliest path_lengths(const Relaxation& relaxation, Direction direction);

/// Longest paths in which a task waits, besides, for the memory that is taken before it
/// ("memory-path" in docs/bounds.md).
/// \param proofs  if not null, gets a sentence for each operator that can never have the memory it needs.
[[nodiscard]] Earliest memory_path_lengths(const Relaxation& relaxation, const MemoryPools& pools, Direction direction,
                                           std::vector<std::string>* proofs = nullptr);

/// Heads and tails together.
struct Ends {
  Earliest head;
  Earliest tail;
};

/// Moment, in the direction's time, before which the copy of `rank` (in that time: 0 is the first
/// forward, the last backward) cannot have been released from the pool.
[[nodiscard]] Nanoseconds earliest_release(const Relaxation& relaxation, const HeldValue& value, Index rank,
                                           Direction direction, const Earliest& earliest);

}  // namespace opweave::bounds
