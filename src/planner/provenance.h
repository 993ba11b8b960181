/// What a plan says of the run that made it.
#pragma once

#include <string>
#include <vector>

#include "opweave/budget.h"
#include "opweave/plan.h"
#include "opweave/planner.h"

namespace opweave {

/// All but the hashes of graph and cluster, which take as long as writing them. Seconds and trajectory are left out
/// under a work limit, where plans are the same to the byte.
[[nodiscard]] Provenance provenance_of(const Budget& budget, const PlannerOptions& options, std::string method,
                                       std::vector<Improvement> trajectory);

/// The limit that ended the search: "time 60 s", "work 1000", "interrupt"; empty if it ended by itself.
[[nodiscard]] std::string reached_limit(const Budget& budget, bool is_optimal);

}  // namespace opweave
