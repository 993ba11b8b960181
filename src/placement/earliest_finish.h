/// Placement by earliest finish time, and the schedule that comes with it.
#pragma once

#include <optional>

#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// Tasks in order of their longest remaining chain, each group where its first task ends first when
/// appended to the streams there (HEFT without insertion: Topcuoglu, Hariri, Wu 2002); every value is sent as soon as
/// it is made. Respects groups, anti-colocation and the capacity for parameters. Neither activations nor contention are
/// looked at, so the times are a claim; the placement always holds. Nothing if some group fits nowhere any more.
/// O((tasks + edges) log devices) where devices and links are alike and nothing is pinned, else up to
/// O((tasks + edges) x devices).
[[nodiscard]] std::optional<Schedule> earliest_finish(const Problem& problem);

}  // namespace opweave
