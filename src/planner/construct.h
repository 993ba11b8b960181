/// First plans: what is known within moments, without search.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "opweave/budget.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"
#include "planner/incumbent.h"

namespace opweave {

/// A valid schedule to improve, the best that is known for its placement.
struct Start {
  Schedule schedule;
  Duration makespan;
  std::string method;
};

struct ConstructionOptions {
  /// Called once, as soon as the incumbent has a plan; false = that is enough. May be empty.
  std::function<bool()> on_first = {};
  /// Called with every schedule, even if it takes too much memory; may be empty.
  std::function<void(const Schedule& schedule, const std::string& method)> see = {};
  /// Published schedules as soon as there is one plan, rather than when all placements have been tried.
  bool experts_early = false;
  /// Asked before windows are tuned, which takes the longest; may be empty.
  std::function<bool()> is_enough = {};
};

/// What construction achieved.
struct Construction {
  std::vector<Start> starts;        ///< one per placement, best first
  bool any_placement_fits = false;  ///< some guess can be run serially within memory
  std::uint64_t evaluations = 0;    ///< schedules built
  std::string rejection;            ///< first violation of a schedule that should have been valid; empty = none
  double longest_step = 0;          ///< seconds that one of them took, or one before the rest could be tried might take
};

/// Offers to `incumbent` what the guessed placements give, most promising first: schedules made along with them, list
/// schedules under all priority rules, and the expert schedules that apply. Something is always finished, even past the
/// budget; afterwards no step is begun that may not end in time.
[[nodiscard]] Construction construct(const Problem& problem, const Budget& budget, IncumbentStore& incumbent,
                                     const ConstructionOptions& options = {});

}  // namespace opweave
