/// Schedules that fit, however long: placement and order at once, everything one after the other.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/random.h"
#include "opweave/budget.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// Where any schedule exists, one exists that runs one thing at a time (docs/feasibility.md), so neither streams nor
/// channels matter, and what counts is what memory holds between two steps. An attempt runs task after task, next the
/// one, and on the devices, where it leaves most room behind; a group is placed with its first task. An attempt that
/// comes to a dead end remembers whom it stopped: the next ones place these first, and decide with more chance.
class FittingSearch {
 public:
  FittingSearch(const Problem& problem, std::uint64_t seed);

  /// One attempt. O(tasks + edges), times the choices looked at per step, of which there are at most a few dozen.
  /// \return a schedule that should be valid; nothing at a dead end, or when the budget has ended
  [[nodiscard]] std::optional<Schedule> attempt(const Budget& budget);

 private:
  void find_islands();
  void find_families();

  const Problem& problem_;
  Random random_;
  std::vector<std::size_t> island_of_;             ///< by device: those that routes join
  std::vector<std::size_t> family_of_;             ///< by group: those that values join, so that they share an island
  std::vector<std::vector<std::size_t>> islands_;  ///< by family: where each of its groups may run
  std::vector<std::uint32_t> stopped_;             ///< by group: attempts that ended at it
  std::uint32_t attempts_ = 0;
};

}  // namespace opweave
