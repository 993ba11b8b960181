/// Placement by earliest finish time.
#pragma once

#include <optional>
#include <vector>

#include "opweave/problem.h"

namespace opweave {

/// Tasks in order of their longest remaining chain, each group where its first task ends first when
/// appended to the streams there (HEFT without insertion: Topcuoglu, Hariri, Wu 2002). Respects groups,
/// anti-colocation and the capacity for parameters; activations are not looked at. Nothing if some
/// group fits nowhere any more. O((tasks + edges) x devices).
[[nodiscard]] std::optional<std::vector<ModeIndex>> earliest_finish_placement(const Problem& problem);

}  // namespace opweave
