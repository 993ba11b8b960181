#include "opweave/check.h"

#include "check/reading.h"
#include "check/rules.h"
#include "check/violation_list.h"
#include "opweave/error.h"

namespace opweave {

std::string_view to_string(Rule rule) {
  switch (rule) {
    case Rule::kOnce:
      return "once";
    case Rule::kStream:
      return "stream";
    case Rule::kPresence:
      return "presence";
    case Rule::kTransfer:
      return "transfer";
    case Rule::kMemory:
      return "memory";
    case Rule::kPlacement:
      return "placement";
    case Rule::kFigures:
      return "figures";
    case Rule::kBlocks:
      return "blocks";
    case Rule::kModes:
      return "modes";
    case Rule::kRecompute:
      return "recompute";
    case Rule::kCopy:
      return "copy";
    case Rule::kHostMemory:
      return "host-memory";
    case Rule::kOption:
      return "option";
    case Rule::kMovement:
      return "movement";
    case Rule::kReduction:
      return "reduction";
  }
  throw InternalError("unknown rule");
}

std::vector<Violation> check(const ComputationGraph& graph, const Cluster& cluster, const Plan& plan,
                             std::size_t limit) {
  checking::ViolationList violations(limit);
  const checking::Reading reading(graph, cluster, plan, violations);
  if (reading.usable()) {
    const checking::Routes routes(reading);
    std::vector<checking::Hold> holds = checking::check_once(reading, violations);
    checking::check_streams(reading, violations);
    const std::vector<checking::Hold> live = checking::check_presence(reading, violations);
    holds.insert(holds.end(), live.begin(), live.end());
    checking::check_transfers(reading, routes, violations);
    const std::vector<checking::MemoryUse> memory = checking::check_memory(reading, holds, violations);
    checking::check_placement(reading, violations);
    checking::check_modes(reading, violations);
    checking::check_reductions(reading, violations);
    const std::vector<checking::Wide> host_peaks = checking::check_host_memory(reading, violations);
    checking::check_figures(reading, routes, memory, host_peaks, violations);
    checking::check_blocks(reading, violations);
  }
  return violations.take();
}

}  // namespace opweave
