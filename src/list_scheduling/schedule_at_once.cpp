#include "list_scheduling/schedule_at_once.h"

#include <vector>

#include "list_scheduling/list_scheduler.h"
#include "list_scheduling/placed_problem.h"
#include "list_scheduling/priority_rules.h"
#include "list_scheduling/reference_order.h"

namespace opweave {

std::optional<Schedule> schedule_at_once(const Problem& problem) {
  const auto placed = PlacedProblem::create(problem, std::vector<ModeIndex>(problem.task_count(), 0));
  if (!placed) return std::nullopt;
  const ReferenceOrder reference = reference_order(*placed);
  if (!reference.fits) return std::nullopt;
  return placed->schedule(list_schedule(*placed, reference, priority_rules(*placed, reference).front().priority));
}

}  // namespace opweave
