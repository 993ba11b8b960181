#include "exact/retime.h"

#include <algorithm>

#include "opweave/error.h"
#include "opweave/plan.h"

namespace opweave::exact {

std::optional<Schedule> retime(const Problem& problem, const RoughSchedule& given) {
  OrderGraph graph(problem, given);
  // Keeping the order of memory costs freedom, so only where it turns out to be needed.
  std::vector<bool> is_ordered(problem.cluster().device_count(), false);
  for (;;) {
    const auto starts = graph.earliest_starts();
    if (!starts) return std::nullopt;
    Schedule schedule = graph.schedule(*starts);
    bool fits = true;
    bool has_new_order = false;
    const auto curves = memory_curves(problem, schedule);
    for (std::size_t d = 0; d < curves.size(); ++d) {
      const std::optional<Bytes> capacity = problem.capacity(DeviceId(d));
      if (!capacity) continue;
      const bool exceeds = std::any_of(curves[d].begin(), curves[d].end(),
                                       [&](const MemoryStep& step) { return step.bytes > *capacity; });
      if (!exceeds) continue;
      fits = false;
      if (is_ordered[d]) continue;
      is_ordered[d] = true;
      has_new_order = true;
      graph.add_memory_order(DeviceId(d));
    }
    if (fits) return schedule;
    if (!has_new_order) return std::nullopt;
  }
}

Schedule left_shift(const Problem& problem, const Schedule& schedule) {
  const std::optional<Schedule> result = retime(problem, rough(schedule));
  if (!result) throw InternalError("schedule to be shifted is not valid");
  return *result;
}

}  // namespace opweave::exact
