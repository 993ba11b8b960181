#include "planner/listed.h"

#include <utility>

#include "list_scheduling/list_scheduler.h"
#include "list_scheduling/placed_problem.h"
#include "list_scheduling/priority_rules.h"
#include "list_scheduling/reference_order.h"

namespace opweave {

std::optional<Schedule> listed(const Problem& problem, std::vector<ModeIndex> modes) {
  const auto placed = PlacedProblem::create(problem, std::move(modes));
  if (!placed) return std::nullopt;
  const ReferenceOrder reference = reference_order(*placed);
  if (!reference.fits) return std::nullopt;
  return placed->schedule(list_schedule(*placed, reference, priority_rules(*placed, reference).front().priority));
}

}  // namespace opweave
