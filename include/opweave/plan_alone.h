/// A plan read without the graph and the cluster that it is for.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "opweave/cluster.h"
#include "opweave/graph.h"
#include "opweave/plan.h"

namespace opweave {

/// A plan with what its file says about its graph and cluster: the names of operators, the tensors that are
/// sent, the devices and their streams. No durations, sizes, edges, phases or limits: enough to name, draw and
/// compare what the plan holds, and nothing to judge it by.
struct PlanAlone {
  ComputationGraph graph;
  Cluster cluster;
  Plan plan;
};

/// What becomes of memory modes and movements.
enum class MovementsAlone : std::uint8_t {
  kRefuse,  ///< they are an error: who draws the plan would leave out what holds streams and memory
  kTake,    ///< they are read; which operator makes what is copied is not known, and one stands for all
};

/// \throws InputError as parse_plan.
[[nodiscard]] PlanAlone parse_plan_alone(std::string_view json, const std::string& source,
                                         MovementsAlone movements = MovementsAlone::kRefuse);

}  // namespace opweave
