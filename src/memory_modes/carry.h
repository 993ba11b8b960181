/// A schedule under one choice of memory modes as the beginning of one under another.
#pragma once

#include <optional>

#include "opweave/memory_modes.h"

namespace opweave {

/// A schedule of `to` in the placement and in the order of `schedule`, which is one of `from`. What runs again and what
/// is copied only now has its place where it is due: copies out when the value is made, the rest just before its first
/// reader. The list schedule where this order does not fit in memory; nothing where there is none.
/// O((tasks + transfers) log n)
/// \pre from and to have the same original problem
[[nodiscard]] std::optional<Schedule> carry(const ProblemWithMovements& from, const Schedule& schedule,
                                            const ProblemWithMovements& to);

}  // namespace opweave
