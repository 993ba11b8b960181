/// Lower bounds on the makespan that need no solver. Each is a proof (docs/bounds.md).
#pragma once

#include <vector>

#include "opweave/budget.h"
#include "opweave/plan.h"
#include "opweave/problem.h"

namespace opweave {

/// All bounds, largest first; never empty. Each value is at most the makespan of every valid plan.
/// Little time: what is not polynomial is limited in steps, and tries harder where there is more time. Looks at the
/// clock of `budget` and returns what is proven by then.
[[nodiscard]] std::vector<LowerBound> lower_bounds(const Problem& problem, const Budget& budget = {});

/// Reasons, independent of any order, why no valid plan exists (an operator or a group of parameters
/// that fits no device, ...). Empty = none was found, which proves nothing.
[[nodiscard]] std::vector<std::string> infeasibility_proofs(const Problem& problem);

/// The same for problems whose values may have memory modes: no valid plan with any modes is shorter.
[[nodiscard]] std::vector<LowerBound> lower_bounds_with_modes(const Problem& problem, const Budget& budget = {});

/// Reasons why no choice of memory modes has a valid plan. Empty = none was found, which proves nothing.
[[nodiscard]] std::vector<std::string> infeasibility_proofs_with_modes(const Problem& problem);

}  // namespace opweave
