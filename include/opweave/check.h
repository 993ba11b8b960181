/// The independent validator: does a plan obey the seven rules?
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/cluster.h"
#include "opweave/graph.h"
#include "opweave/plan.h"

namespace opweave {

/// The rules of docs/concepts.md, by number, one for the plan's statements about itself, and one for blocks.
enum class Rule : std::uint8_t {
  kOnce = 1,       ///< every instance exactly once, in an allowed mode, for exactly its duration
  kStream = 2,     ///< a stream runs one operator at a time
  kPresence = 3,   ///< inputs present before the start; a tensor sent to a device at most once; "after" respected
  kTransfer = 4,   ///< transfers last alpha + bytes / beta, start after the producer, respect contention
  kMemory = 5,     ///< never above capacity
  kPlacement = 6,  ///< colocation, anti-colocation, replicas, pinned devices
  // Rule 7 only permits (zero durations, zero bytes are legal), so nothing can break it.
  kFigures = 8,  ///< what the plan states about itself (makespan, bounds, status, statistics) is true
  kBlocks = 9,   ///< where the settings ask for blocks: their pieces run like single operators
  // Rules of memory modes (docs/memory-modes.md).
  kModes = 10,       ///< values have modes that they may have, and what brings them back is there once
  kRecompute = 11,   ///< what runs again does so where and after it ran, and ends before what needs it
  kCopy = 12,        ///< copies to and from hosts: where, after what, for how long
  kHostMemory = 13,  ///< hosts never above capacity
  // Rules of options with layouts (docs/layouts.md).
  kOption = 14,     ///< operators run in an option of theirs, those that choose together in the same
  kMovement = 15,   ///< tensors are moved exactly as their layouts ask for, on the right devices, for the right time
  kReduction = 16,  ///< likewise gradients and weights, as the parts of parameters ask for, in the right order
};
/// "once", "stream", "presence", "transfer", "memory", "placement", "figures", "blocks", "modes",
/// "recompute", "copy", "host-memory", "option", "movement", "reduction".
[[nodiscard]] std::string_view to_string(Rule rule);

/// One broken rule, with the values.
struct Violation {
  Rule rule;
  std::string message;
};

/// Checks a plan from the input and the plan alone: nothing of planner, Problem, searches or
/// simulation is used (exact definitions: docs/validation.md). Returns the violations found by rule, at
/// most `limit` (at least one), of which every broken rule has a share; empty = valid.
/// O(n log n) for n tasks, input edges and transfers.
[[nodiscard]] std::vector<Violation> check(const ComputationGraph& graph, const Cluster& cluster, const Plan& plan,
                                           std::size_t limit = 100);

/// What the settings of a plan replace that graph and cluster say, a sentence each ("microbatches are 4 instead of 2");
/// empty if they agree. check() judges a plan by its own settings, so a valid plan may be one for other settings than
/// those of the files. \pre The settings are valid: validate(settings.training) does not throw.
[[nodiscard]] std::vector<std::string> replaced_settings(const ComputationGraph& graph, const Cluster& cluster,
                                                         const ProblemSettings& settings);

}  // namespace opweave
