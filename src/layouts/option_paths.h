/// Heads and tails of operators in each of their options: paths that no selection makes shorter.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "layouts/movement_costs.h"

namespace opweave {

/// Of one operator in one alternative, in ns: a moment before which no copy of it starts, and a time that passes at
/// least between the end of any copy and the end of the plan. Nothing where it has no plan in this alternative.
struct OptionPath {
  std::int64_t head = 0;
  std::int64_t tail = 0;
  bool is_possible = true;
};

/// Longest paths over operators and least movements (docs/layouts.md, "Bounds").
class OptionPaths {
 public:
  /// O(edges x alternatives^2)
  explicit OptionPaths(MovementCosts& costs);

  [[nodiscard]] const OptionPath& of(OperatorId op, std::uint32_t alternative) const {
    return paths_[op.index()][alternative];
  }
  /// No plan is shorter. Nothing where no selection has a plan.
  [[nodiscard]] std::optional<std::int64_t> bound() const;

 private:
  void find_heads();
  void find_tails();
  void raise_heads_of_step(OperatorId op, std::uint32_t alternative, OptionPath& path) const;
  [[nodiscard]] std::int64_t length(OperatorId op, std::uint32_t alternative) const;
  [[nodiscard]] std::int64_t copies(OperatorId op) const;
  /// Bound of a choice in one alternative: the work of its operators on a stream between their heads and tails.
  [[nodiscard]] std::optional<std::int64_t> bound_of(const LayoutChoice& choice, std::uint32_t alternative) const;

  MovementCosts& costs_;
  const ComputationGraph& graph_;
  std::int64_t microbatches_ = 1;
  std::vector<std::vector<OptionPath>> paths_;       // by operator and alternative
  std::vector<std::vector<OperatorId>> updates_of_;  // by parameter
};

}  // namespace opweave
