#include "planner/starts.h"

#include <algorithm>
#include <utility>

namespace opweave {

std::vector<Start>::iterator start_of_placement(std::vector<Start>& starts, const Schedule& schedule) {
  return std::ranges::find_if(starts, [&](const Start& start) {
    return std::ranges::equal(start.schedule.tasks, schedule.tasks, {}, &TaskAssignment::mode, &TaskAssignment::mode);
  });
}

void add_start(std::vector<Start>& starts, Start start) {
  const auto known = start_of_placement(starts, start.schedule);
  if (known == starts.end()) {
    starts.push_back(std::move(start));
  } else if (start.makespan < known->makespan) {
    start.is_guessed |= known->is_guessed;
    *known = std::move(start);
  }
}

}  // namespace opweave
