#include "core/equal_devices.h"

#include <algorithm>

namespace opweave {

bool devices_are_alike(const Problem& problem) {
  const Cluster& cluster = problem.cluster();
  const std::size_t count = cluster.device_count();
  // Routes over shared links make devices differ by what else uses the link.
  if (problem.settings().contention == Contention::kLink && !cluster.links().empty()) return false;
  for (std::size_t d = 1; d < count; ++d) {
    const DeviceId first(0);
    const DeviceId device(d);
    if (cluster.at(device).type != cluster.at(first).type || problem.capacity(device) != problem.capacity(first) ||
        cluster.stream_mask(device) != cluster.stream_mask(first)) {
      return false;
    }
  }
  // Durations of explicit modes may differ between devices of one type.
  if (std::ranges::any_of(problem.graph().operators(), [](const Operator& op) { return !op.modes.empty(); })) {
    return false;
  }
  for (std::size_t g = 0; g < problem.group_count(); ++g) {
    if (problem.devices_of(GroupId(g)).size() != count) return false;
  }
  const bool is_joined = cluster.parts().default_link || !cluster.links().empty();
  return count < 2 || !is_joined || cluster.common_rate().has_value();
}

}  // namespace opweave
