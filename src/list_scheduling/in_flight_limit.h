/// A limit on the microbatches in flight, as precedence.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "list_scheduling/placed_problem.h"

namespace opweave {

/// Microbatch b of a replica starts only when the one `microbatches` before it has come as far as
/// `progress` of its critical path (0 = started, 1 = all but weight gradients done). Without such a limit
/// greedy dispatch fills the memory with forwards that then wait for each other; with it the pipeline
/// flows (the CONWIP rule of production lines: Spearman, Woodruff, Hopp 1990).
struct InFlightLimit {
  std::uint32_t microbatches = 1;
  double progress = 1;
};

/// Shares of a microbatch's critical path at which a limit may let the next one in.
inline constexpr double kLimitProgress[] = {0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0};
/// Of the priority rules for repeated microbatches those that differ under a limit: not "longest tail".
inline constexpr std::size_t kLimitRules[] = {0, 1, 2, 4};

/// The operator whose end marks the progress of a microbatch: the first to end, run without waiting, at or after that
/// share of the longest chain. O(operators).
[[nodiscard]] OperatorId gate_operator(const Problem& problem, double progress);

/// The edges that enforce the limit. O(tasks per microbatch + edges).
[[nodiscard]] std::vector<PlacedProblem::ExtraEdge> in_flight_edges(const Problem& problem, const InFlightLimit& limit);

}  // namespace opweave
