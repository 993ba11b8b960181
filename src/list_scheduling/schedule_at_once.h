/// A first schedule where nothing is to be placed.
#pragma once

#include <optional>

#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// One list schedule, which keeps to memory, by the rule that promises most. Nothing where no serial order that is
/// tried fits, or where no route joins devices. O((tasks + edges) log tasks) \pre every task has one mode
[[nodiscard]] std::optional<Schedule> schedule_at_once(const Problem& problem);

}  // namespace opweave
