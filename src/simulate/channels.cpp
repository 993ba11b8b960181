#include "simulate/channels.h"

#include <algorithm>

namespace opweave::simulation {

Channels::Channels(const Cluster& cluster, Contention contention) : cluster_(cluster), contention_(contention) {
  if (contention == Contention::kEndpoint) free_from_.resize(2 * cluster.device_count());
  if (contention == Contention::kLink) free_from_.resize(2 * cluster.links().size());
}

Duration Channels::book(DeviceId from, DeviceId to, Duration ready, Duration lasts) {
  needed_.clear();
  switch (contention_) {
    case Contention::kNone:
      break;
    case Contention::kEndpoint:
      needed_ = {&free_from_[2 * from.index()], &free_from_[2 * to.index() + 1]};
      break;
    case Contention::kLink: {
      const std::optional<Route> route = cluster_.route(from, to);
      for (const Hop& hop : route->hops) {
        const bool other_direction = cluster_.links()[hop.link.index()].full_duplex && !hop.forward;
        needed_.push_back(&free_from_[2 * hop.link.index() + (other_direction ? 1 : 0)]);
      }
      if (route->hops.empty()) {
        needed_.push_back(&pair_free_from_[from.index() * cluster_.device_count() + to.index()]);
      }
      break;
    }
  }
  Duration start = ready;
  for (const Duration* free_from : needed_) start = std::max(start, *free_from);
  for (Duration* free_from : needed_) *free_from = start + lasts;
  return start;
}

}  // namespace opweave::simulation
