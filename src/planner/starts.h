/// Schedules that searches begin from.
#pragma once

#include <string>
#include <vector>

#include "opweave/schedule.h"

namespace opweave {

/// A valid schedule to improve, the best that is known for its placement.
struct Start {
  Schedule schedule;
  Duration makespan;
  std::string method;
  bool is_guessed = true;  ///< its placement, by a rule of thumb or by who gave it; else it was searched
};

/// The start of this placement, or the end of the starts.
[[nodiscard]] std::vector<Start>::iterator start_of_placement(std::vector<Start>& starts, const Schedule& schedule);

/// Adds a start, or takes its schedule for the start of the same placement if it is shorter; whose placement was
/// guessed remains a guess.
void add_start(std::vector<Start>& starts, Start start);

}  // namespace opweave
