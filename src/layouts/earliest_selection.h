/// A selection operator by operator: each choice where its first operator would end earliest.
#pragma once

#include "layouts/movement_costs.h"
#include "opweave/layouts.h"

namespace opweave {

/// Goes through one microbatch in topological order and keeps the times at which streams are free. The first operator
/// of each choice takes the alternative in which it ends earliest, with the movements of what it reads. Time that an
/// alternative takes on all its streams together, shared out over all devices, counts as `weight_of_work` times that
/// much later: 0 takes gangs wherever they are faster, 1 only where they do not waste work.
/// O(edges x alternatives)
[[nodiscard]] LayoutSelection earliest_selection(MovementCosts& costs, double weight_of_work);

}  // namespace opweave
