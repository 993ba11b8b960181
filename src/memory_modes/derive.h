/// The graph in which what brings values back are operators.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "opweave/cluster.h"
#include "opweave/graph.h"
#include "opweave/memory_modes.h"

namespace opweave {

/// A graph with movements. Operators and tensors of the graph that it came from have the same numbers; what follows
/// them was added.
struct GraphWithMovements {
  static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

  ComputationGraph graph;
  std::vector<std::uint32_t> again;       ///< by old operator: the one that is it once more, or kNone
  std::vector<std::uint32_t> copy_out;    ///< by old tensor: the operator that copies it to hosts, or kNone
  std::vector<std::uint32_t> copy_in;     ///< by old tensor: the operator that copies it back, or kNone
  std::vector<std::uint32_t> come_back;   ///< by old tensor: what comes back of it, or kNone
  std::vector<std::uint32_t> reductions;  ///< the operators that were given as reductions, in their order
};

/// A reduction as an operator of a graph in which each task is an operator of its own.
struct GraphReduction {
  Operator op;                         ///< complete
  std::vector<OperatorId> optimizers;  ///< which start after it
};

/// The graph of `graph` under a mode per tensor. O(operators + edges)
/// \throws InputError as ProblemWithMovements::create
[[nodiscard]] GraphWithMovements derive(const ComputationGraph& graph, const Cluster& cluster,
                                        const std::vector<MemoryMode>& modes, Return when,
                                        const std::vector<GraphReduction>& reductions = {});

/// Each copy of an operator that runs again or whose output is copied goes where its movements go, without more being
/// said: its devices follow from a parameter, a colocation group or a single choice. Else the copies of the operator
/// would be bound to each other where they were free.
[[nodiscard]] bool ties_itself(const Operator& op);

/// The cluster with streams for copies on every device that has a host.
[[nodiscard]] Cluster with_copy_streams(const Cluster& cluster);

}  // namespace opweave
