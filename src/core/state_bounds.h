/// Bounds of a plan that is there already.
#pragma once

#include <vector>

#include "opweave/plan.h"

namespace opweave {

/// Replaces the bounds of a plan, and its status by them.
void state_bounds(Plan& plan, std::vector<LowerBound> bounds);

}  // namespace opweave
