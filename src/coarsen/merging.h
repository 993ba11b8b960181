/// Which tasks are taken together, so that the graph of what is merged stays acyclic.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "opweave/problem.h"

namespace opweave::coarsen {

/// No cluster, no task: in lists by index.
inline constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

/// A partition of the tasks into clusters that run as one.
struct Merging {
  std::vector<std::uint32_t> cluster_of;  ///< by task
  std::uint32_t cluster_count = 0;
};

struct MergeOptions {
  /// Clusters stop growing at this sum of shortest durations.
  Duration longest;
  /// Groups that share their devices are joined up to this work and these bytes of parameters.
  Duration most_work_of_group;
  Bytes most_bytes_of_group;
  /// Merge along successors instead of predecessors: the same rule with time turned round.
  bool backward = false;
  /// Keep from merging what would make other tasks wait, and levels of the graph that have few clusters per device
  /// already: little is lost. Else merging goes on, as it should where transfers cost more than waiting.
  bool is_gentle = true;
};

/// Merging is understood for this problem: one microbatch, one replica, no explicit modes.
[[nodiscard]] bool can_merge(const Problem& problem);

/// One level of merging (docs/coarsening.md): a task joins the cluster that holds all of its predecessors within a
/// span of two levels of the graph; tasks of one level that share their largest input are taken together in pairs.
/// Members of a cluster have the same streams and may run on the same devices; their groups become one.
/// O((tasks + edges) log tasks).
/// \pre can_merge(problem)
[[nodiscard]] Merging merge(const Problem& problem, const MergeOptions& options);

}  // namespace opweave::coarsen
