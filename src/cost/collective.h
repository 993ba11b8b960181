/// How long collectives take on rings: latency plus bytes over the bandwidth of the slowest link of the ring.
#pragma once

namespace opweave {

/// Ranks that take part, and what joins them.
struct Ring {
  double ranks = 1;
  double bandwidth = 1;  ///< bytes per second on every hop ("bus bandwidth")
  double latency = 0;    ///< seconds of one collective
};

/// Seconds in which every rank gets the whole of `bytes`, of which each holds one part; and the inverse, the sums of
/// whose parts end on one rank each. 0 for one rank. Chan, Heimlich, Purkayastha, van de Geijn 2007, "Collective
/// communication: theory, practice, and experience".
[[nodiscard]] double all_gather_seconds(const Ring& ring, double bytes);
[[nodiscard]] double reduce_scatter_seconds(const Ring& ring, double bytes);
/// A reduce_scatter and an all_gather.
[[nodiscard]] double all_reduce_seconds(const Ring& ring, double bytes);
/// Every rank keeps one part of its `bytes` and sends the others to one rank each.
[[nodiscard]] double all_to_all_seconds(const Ring& ring, double bytes);

}  // namespace opweave
