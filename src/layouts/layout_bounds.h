/// Bounds for all selections at once (docs/layouts.md#bounds).
#pragma once

#include <vector>

#include "layouts/movement_costs.h"
#include "opweave/budget.h"
#include "opweave/layouts.h"

namespace opweave {

/// The ordinary problem that every plan of every selection is a plan of, once its movements are left out: operators
/// with the least duration of their options on each set of devices, values without bytes, ways that take no time, no
/// limits of memory.
[[nodiscard]] Problem without_layouts(const LayoutProblem& problem);

/// Bounds of that problem, largest first.
[[nodiscard]] std::vector<LowerBound> layout_bounds(const LayoutProblem& problem, const Budget& budget);

/// What options and the movements between them come to at least.
struct LayoutRelaxation {
  std::vector<LowerBound> bounds;  ///< "option-path" and "option-load"; none where there is too much to look at
  std::vector<LayoutSelection> selections;  ///< with little work on the busiest streams, or early ends
};
/// Looks at the clock of `budget`. Nothing where no selection has a plan.
[[nodiscard]] LayoutRelaxation relax_layouts(MovementCosts& costs, const Budget& budget);

}  // namespace opweave
