/// Improves placements by moving vertices, parts of the graph and pairs of them between devices.
#pragma once

#include <cstdint>
#include <functional>

#include "opweave/budget.h"
#include "partition/load_model.h"

namespace opweave::partition {

struct SearchOptions {
  std::uint64_t seed = 1;
  /// Values up to this are good enough; the search ends there.
  double good_enough = 0;
  /// Called with every assignment better than those before.
  std::function<void(const Assignment&, double value)> on_improvement;
  /// Moves to assignments for which this is false are not made; empty = all that obey the model. True of the starts.
  std::function<bool(const Assignment&)> accepts;
};

struct SearchAnswer {
  Assignment assignment;
  double value = std::numeric_limits<double>::infinity();
  std::uint64_t work = 0;  ///< moves that were tried
};

/// Searches for an assignment of least largest load by simulated annealing on what exceeds a target below the best
/// value (docs/partition.md), round after round with more moves, until `budget` ends (its work limit counts moves) or
/// the value is good enough. Never worse than the best of `starts`.
/// \pre `starts` is not empty; its assignments obey the model.
[[nodiscard]] SearchAnswer improve_assignment(const LoadModel& model, const std::vector<Assignment>& starts,
                                              const Budget& budget, const SearchOptions& options);

}  // namespace opweave::partition
