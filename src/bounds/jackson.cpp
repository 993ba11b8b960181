#include "bounds/jackson.h"

#include <algorithm>
#include <limits>
#include <queue>

namespace opweave::bounds {

Nanoseconds jackson_bound(std::vector<Job> jobs) {
  std::sort(jobs.begin(), jobs.end(), [](const Job& a, const Job& b) { return a.head < b.head; });
  struct Available {
    Nanoseconds tail;
    Nanoseconds left;
    bool operator<(const Available& other) const { return tail < other.tail; }
  };
  std::priority_queue<Available> available;
  Nanoseconds now = 0;
  Nanoseconds latest = 0;
  for (std::size_t next = 0; next < jobs.size() || !available.empty();) {
    if (available.empty()) now = std::max(now, jobs[next].head);
    for (; next < jobs.size() && jobs[next].head <= now; ++next) {
      available.push({jobs[next].tail, jobs[next].duration});
    }
    Available running = available.top();
    available.pop();
    const Nanoseconds until_arrival =
        next < jobs.size() ? jobs[next].head - now : std::numeric_limits<Nanoseconds>::max();
    const Nanoseconds step = std::min(running.left, until_arrival);
    now += step;
    running.left -= step;
    if (running.left > 0) {
      available.push(running);
    } else {
      latest = std::max(latest, now + running.tail);
    }
  }
  return latest;
}

}  // namespace opweave::bounds
