/// Bounds for all selections at once (docs/layouts.md#bounds).
#pragma once

#include <vector>

#include "opweave/budget.h"
#include "opweave/layouts.h"

namespace opweave {

/// The ordinary problem that every plan of every selection is a plan of, once its movements are left out: operators
/// with the least duration of their options on each set of devices, values without bytes, ways that take no time, no
/// limits of memory.
[[nodiscard]] Problem without_layouts(const LayoutProblem& problem);

/// Largest first.
[[nodiscard]] std::vector<LowerBound> layout_bounds(const LayoutProblem& problem, const Budget& budget);

}  // namespace opweave
