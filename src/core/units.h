/// Operators that run again together.
#pragma once

#include <cstdint>
#include <vector>

#include "opweave/graph.h"

namespace opweave {

/// The unit of each operator as a number.
[[nodiscard]] std::vector<std::uint32_t> units_of(const ComputationGraph& graph);

}  // namespace opweave
