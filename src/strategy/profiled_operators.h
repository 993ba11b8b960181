/// What Aceso's model says of single operators and transfers.
#pragma once

#include "opweave/operator_profiles.h"

namespace opweave::strategy {

/// Weights, gradients, fp32 weights (2 of 16 bits), two moments (4).
inline constexpr double kStatesPerWeight = 8;

/// Its output takes the place of its input.
[[nodiscard]] bool keeps_nothing(const OperatorProfile& op);
/// MB that a microbatch keeps of an operator for the backward pass.
[[nodiscard]] double kept_mb(const OperatorProfile& op);
/// Milliseconds of sending so much to a neighbour of the pipeline.
[[nodiscard]] double transfer_ms(const OperatorProfiles& profiles, double mb, bool is_between_nodes);

}  // namespace opweave::strategy
