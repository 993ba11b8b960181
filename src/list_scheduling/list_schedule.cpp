#include "list_scheduling/list_schedule.h"

#include <utility>

#include "list_scheduling/list_scheduler.h"
#include "list_scheduling/placed_problem.h"
#include "list_scheduling/priority_rules.h"
#include "list_scheduling/reference_order.h"

namespace opweave {

std::optional<Schedule> list_schedule(const Problem& problem, std::vector<ModeIndex> modes) {
  const auto placed = PlacedProblem::create(problem, std::move(modes));
  if (!placed) return std::nullopt;
  const ReferenceOrder reference = reference_order(*placed);
  if (!reference.fits) return std::nullopt;
  return placed->schedule(list_schedule(*placed, reference, priority_rules(*placed, reference).front().priority));
}

std::optional<Schedule> shortest_list_schedule(const Problem& problem, std::vector<ModeIndex> modes,
                                               const Budget& budget) {
  const auto placed = PlacedProblem::create(problem, std::move(modes));
  if (!placed) return std::nullopt;
  const ReferenceOrder reference = reference_order(*placed);
  if (!reference.fits) return std::nullopt;
  std::optional<Schedule> best;
  for (const PriorityRule& rule : priority_rules(*placed, reference)) {
    Schedule schedule = placed->schedule(list_schedule(*placed, reference, rule.priority));
    if (!best || schedule.makespan(problem) < best->makespan(problem)) best = std::move(schedule);
    if (budget.expired()) break;
  }
  return best;
}

}  // namespace opweave
