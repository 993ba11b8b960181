#include "list_scheduling/window_schedule.h"

#include "list_scheduling/list_scheduler.h"
#include "list_scheduling/priority_rules.h"
#include "list_scheduling/reference_order.h"

namespace opweave {

std::optional<WindowSchedule> schedule_in_window(const Problem& problem, const std::vector<ModeIndex>& modes,
                                                 const InFlightWindow& window, std::size_t rule) {
  const auto narrow = PlacedProblem::create(problem, modes, window_edges(problem, window));
  if (!narrow) return std::nullopt;
  const ReferenceOrder reference = reference_order(*narrow);
  if (!reference.fits) return std::nullopt;
  PriorityRule chosen = priority_rules(*narrow, reference)[rule];
  return WindowSchedule{list_schedule(*narrow, reference, chosen.priority), chosen.name};
}

}  // namespace opweave
