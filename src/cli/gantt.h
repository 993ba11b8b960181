/// A plan drawn with characters.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/terminal.h"
#include "opweave/cluster.h"
#include "opweave/graph.h"
#include "opweave/plan.h"

namespace opweave::cli {

/// Memory of a device over time, with its limit.
struct MemoryLane {
  std::vector<MemoryStep> curve;
  std::optional<Bytes> capacity;
};

/// A line per device and stream, with whole names (what all begin with may be left out and said below), and with
/// `memory` (by device, or empty) one for memory. A column is a slice of time and shows what runs longest in it: the
/// letter of its phase; where operators have no phase, the last digit of the microbatch, or of a single microbatch the
/// first letter of the operator; small letters and a lighter colour where more than half of the slice is idle. Memory
/// is drawn relative to the limit, or to the largest peak of all devices without one.
[[nodiscard]] std::string gantt(const ComputationGraph& graph, const Cluster& cluster, const Plan& plan,
                                const std::vector<MemoryLane>& memory, const Terminal& terminal);

}  // namespace opweave::cli
