/// First placements: quick, deterministic guesses that later methods improve.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// A mode for every task, and the rule that chose it.
struct PlacementGuess {
  std::string method;
  std::vector<ModeIndex> modes;
  std::optional<Schedule> schedule;  ///< made along with it; a claim, since activations were not looked at
};

/// Distinct placements that respect groups, pinned devices, anti-colocation and the capacity for
/// parameters, most promising first. Empty if no rule finds one.
///  - "earliest finish": tasks by longest remaining chain, each where it ends first (HEFT, Topcuoglu,
///    Hariri, Wu 2002), groups as a whole;
///  - "contiguous", "zigzag xR", "loop xR": consecutive parts of equal work in the order of the graph,
///    laid over the devices in R rounds (see contiguous.h); only for graphs of several microbatches, where
///    they go first, with more than one round;
///  - "branches over all devices xR", "branches apart": where the graph has branches (see branch_placement.h), for
///    graphs of several microbatches;
///  - "contiguous by bytes": consecutive parts of equal memory.
/// O(tasks x devices).
[[nodiscard]] std::vector<PlacementGuess> guess_placements(const Problem& problem);

/// The same one by one, each made when it is asked for: on large problems a guess takes a while.
class PlacementGuesses {
 public:
  /// The problem outlives its guesses.
  explicit PlacementGuesses(const Problem& problem);
  PlacementGuesses(PlacementGuesses&&) noexcept;
  ~PlacementGuesses();

  /// The next that differs from all before; nothing when there are no more.
  [[nodiscard]] std::optional<PlacementGuess> next();

 private:
  class Rules;
  std::unique_ptr<Rules> rules_;
};

}  // namespace opweave
