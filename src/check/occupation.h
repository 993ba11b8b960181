/// Things that serve one user at a time: streams, endpoints, links.
#pragma once

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

#include "opweave/quantity.h"

namespace opweave::checking {

/// `user` holds `resource` during [start, end).
struct Occupation {
  std::uint64_t resource = 0;
  Duration start;
  Duration end;
  std::size_t user = 0;
};

/// Calls report(earlier, later) for each occupation that starts while another one of the same
/// resource lasts. Intervals are half-open: one may start when another ends, and an empty one
/// occupies nothing. O(n log n).
template <class Report>
void find_overlaps(std::vector<Occupation> occupations, Report report) {
  std::erase_if(occupations, [](const Occupation& o) { return o.start >= o.end; });
  std::sort(occupations.begin(), occupations.end(), [](const Occupation& a, const Occupation& b) {
    return std::tie(a.resource, a.start, a.end, a.user) < std::tie(b.resource, b.start, b.end, b.user);
  });
  const Occupation* latest = nullptr;  // of those seen on this resource, the one that ends last
  for (const Occupation& occupation : occupations) {
    if (latest != nullptr && latest->resource == occupation.resource) {
      if (occupation.start < latest->end) report(*latest, occupation);
      if (occupation.end <= latest->end) continue;
    }
    latest = &occupation;
  }
}

}  // namespace opweave::checking
