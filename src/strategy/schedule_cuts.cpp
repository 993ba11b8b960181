#include "strategy/schedule_cuts.h"

#include <algorithm>

namespace opweave::strategy {
namespace {

constexpr std::size_t kMostPaths = 16;

}  // namespace

void ScheduleCuts::add(const OrderSize& size, const PathCounts& path) {
  std::vector<PathCounts>& known = paths_[size];
  if (std::ranges::find(known, path) != known.end()) return;
  if (known.size() == kMostPaths) known.erase(known.begin());
  known.push_back(path);
}

PathCounts mean_of(const std::vector<PathCounts>& paths) {
  PathCounts mean(paths.front().size());
  for (const PathCounts& path : paths) {
    for (std::size_t i = 0; i < mean.size(); ++i) {
      for (std::size_t kind = 0; kind < mean[i].size(); ++kind) {
        mean[i][kind] += path[i][kind] / static_cast<double>(paths.size());
      }
    }
  }
  return mean;
}

}  // namespace opweave::strategy
