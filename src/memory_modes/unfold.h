/// A training iteration as a graph without repetition.
#pragma once

#include "opweave/problem.h"

namespace opweave {

/// One microbatch, one replica: every task of `problem` is an operator, every value a tensor, with the same numbers.
/// Its valid schedules are those of `problem`, one for one. O(tasks + edges)
/// \throws InputError for anti-colocated operators that run more than once, and for replicas that may share a device:
///   the graph would say other things of them
[[nodiscard]] ComputationGraph unfold(const Problem& problem);

}  // namespace opweave
