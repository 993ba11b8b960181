/// A schedule under one choice of memory modes as the beginning of one under another.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "opweave/memory_modes.h"

namespace opweave {

/// When a schedule starts the tasks of the original problem.
[[nodiscard]] std::vector<std::int64_t> original_starts(const ProblemWithMovements& from, const Schedule& schedule);

/// A schedule of `to` in the placement of `schedule`, which is one of `from`, and in the order of `starts`, by task of
/// the original problem. What runs again and what is copied only now has its place where it is due: copies out when the
/// value is made, the rest just before its first reader. The list schedule where this order does not fit in memory;
/// nothing where there is none. O((tasks + transfers) log n)
/// \pre from and to have the same original problem
[[nodiscard]] std::optional<Schedule> carry(const ProblemWithMovements& from, const Schedule& schedule,
                                            std::span<const std::int64_t> starts, const ProblemWithMovements& to);

}  // namespace opweave
