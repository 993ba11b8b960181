/// Whether devices have but names.
#pragma once

#include "opweave/problem.h"

namespace opweave {

/// Any two devices can be exchanged: what is a plan stays one when they are. They are of one type, capacity and set of
/// streams, every task may run on each of them, and routes between any two are of one rate and share no link.
/// O(groups + routes)
[[nodiscard]] bool devices_are_alike(const Problem& problem);

}  // namespace opweave
