/// What transfers wait for: endpoints or links, first come first served.
#pragma once

#include <unordered_map>

#include "opweave/cluster.h"

namespace opweave::simulation {

/// The endpoints or links of a cluster, each with the moment from which it is free.
class Channels {
 public:
  Channels(const Cluster& cluster, Contention contention);

  /// Earliest start, not before `ready`, at which all channels from one device to the other are free;
  /// they are busy from then on for `lasts`. Call in the order of `ready`: a channel never serves a
  /// later caller first, so that its next free moment is all there is to know about its queue.
  Duration book(DeviceId from, DeviceId to, Duration ready, Duration lasts);

 private:
  const Cluster& cluster_;
  const Contention contention_;
  std::unordered_map<Cluster::Channel, Duration> free_from_;
};

}  // namespace opweave::simulation
