/// Reductions of gradients and gathers of weights that the parts of parameters ask for (docs/layouts.md).
#pragma once

#include <optional>
#include <vector>

#include "opweave/layouts.h"

namespace opweave {

/// One of them, and how it hangs together with the operators of the graph.
struct ParameterMovement {
  LayoutMovement movement;  ///< copy 0, no times
  Duration duration;
  Phase phase = Phase::kNone;       ///< of the operator that it becomes: says how often it happens
  std::vector<OperatorId> after;    ///< operators that end before it starts
  std::vector<OperatorId> others;   ///< without a value: operators that start after it
  std::optional<Bytes> value = {};  ///< on each device: a gradient that `others` make and it reads, or gathered
                                    ///< weights that it makes and `others` read
};

/// Of all parameters, in their order.
[[nodiscard]] std::vector<ParameterMovement> parameter_movements(const LayoutProblem& problem,
                                                                 const LayoutSelection& selection);

}  // namespace opweave
