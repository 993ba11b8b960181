#include "simulate/channels.h"

#include <algorithm>

namespace opweave::simulation {

Channels::Channels(const Cluster& cluster, Contention contention) : cluster_(cluster), contention_(contention) {}

Duration Channels::book(DeviceId from, DeviceId to, Duration ready, Duration lasts) {
  if (contention_ == Contention::kNone) return ready;
  const std::vector<Cluster::Channel> needed = cluster_.channels(from, to, contention_);
  Duration start = ready;
  for (const Cluster::Channel channel : needed) start = std::max(start, free_from_[channel]);
  for (const Cluster::Channel channel : needed) free_from_[channel] = start + lasts;
  return start;
}

}  // namespace opweave::simulation
