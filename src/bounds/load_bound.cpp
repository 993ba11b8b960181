#include <fmt/format.h>

#include "bounds/bound_context.h"

namespace opweave::bounds {

std::optional<LowerBound> load_bound(const BoundContext& context) {
  const Relaxation& relaxation = context.relaxation;
  const Problem& problem = relaxation.problem();
  const Cluster& cluster = problem.cluster();
  std::optional<LowerBound> best;
  for (std::size_t s = 0; s < cluster.stream_names().size(); ++s) {
    Nanoseconds work = 0;
    for (Index task = 0; task < relaxation.task_count(); ++task) {
      if ((problem.streams(TaskId(task)) >> s & 1U) != 0) work += relaxation.work(task);
    }
    std::int64_t devices = 0;
    for (std::size_t d = 0; d < cluster.device_count(); ++d) devices += cluster.stream_mask(DeviceId(d)) >> s & 1U;
    const Duration value((work + devices - 1) / devices);
    if (!best || value > best->value) {
      best = {"load", value, fmt::format("{} devices, stream \"{}\"", devices, cluster.stream_names()[s])};
    }
  }
  return best;
}

}  // namespace opweave::bounds
