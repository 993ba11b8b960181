#include "list_scheduling/limited_schedule.h"

#include "list_scheduling/list_scheduler.h"
#include "list_scheduling/priority_rules.h"
#include "list_scheduling/reference_order.h"

namespace opweave {

std::optional<LimitedSchedule> schedule_within_limit(const Problem& problem, const std::vector<ModeIndex>& modes,
                                                     const InFlightLimit& limit, std::size_t rule) {
  const auto narrow = PlacedProblem::create(problem, modes, in_flight_edges(problem, limit));
  if (!narrow) return std::nullopt;
  const ReferenceOrder reference = reference_order(*narrow);
  if (!reference.fits) return std::nullopt;
  PriorityRule chosen = priority_rules(*narrow, reference)[rule];
  return LimitedSchedule{list_schedule(*narrow, reference, chosen.priority), chosen.name};
}

}  // namespace opweave
