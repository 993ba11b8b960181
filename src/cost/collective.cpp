#include "cost/collective.h"

namespace opweave {

double all_gather_seconds(const Ring& ring, double bytes) {
  if (ring.ranks <= 1) return 0;
  return ring.latency + bytes * (ring.ranks - 1) / ring.ranks / ring.bandwidth;
}

double reduce_scatter_seconds(const Ring& ring, double bytes) { return all_gather_seconds(ring, bytes); }

double all_reduce_seconds(const Ring& ring, double bytes) {
  return reduce_scatter_seconds(ring, bytes) + all_gather_seconds(ring, bytes);
}

double all_to_all_seconds(const Ring& ring, double bytes) { return all_gather_seconds(ring, bytes); }

}  // namespace opweave
