#include "coarsen/hierarchy.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include "coarsen/merging.h"

namespace opweave::coarsen {
namespace {

/// Shares of the least makespan that a cluster, and of the work of a device that a group, may become.
constexpr std::int64_t kClustersInTime = 30;
constexpr std::int64_t kGroupsOnDevice = 4;
/// Clusters of a level are at most so many times as long as the mean, so that they stay alike.
constexpr std::int64_t kMostOfMean = 4;
/// Merging that leaves more than this share is no progress.
constexpr double kProgress = 0.9;

/// At least the makespan of any plan, or nearly: work on all devices, and the longest chain.
struct Size {
  std::int64_t work = 0;
  std::int64_t chain = 0;
};

Size size_of(const Problem& problem) {
  Size size;
  std::vector<std::int64_t> head(problem.task_count(), 0);
  for (std::size_t t = 0; t < head.size(); ++t) {
    const std::int64_t duration = problem.shortest(TaskId(t)).value();
    for (const TaskId before : problem.predecessors(TaskId(t))) head[t] = std::max(head[t], head[before.index()]);
    head[t] += duration;
    size.work += duration;
    size.chain = std::max(size.chain, head[t]);
  }
  return size;
}

}  // namespace

Hierarchy::Hierarchy(const Problem& problem, std::size_t coarsest, bool is_gentle, const Budget& budget)
    : problem_(problem) {
  const Size size = size_of(problem);
  const auto devices = static_cast<std::int64_t>(problem.cluster().device_count());
  const std::int64_t longest = std::max(size.work / devices, size.chain) / kClustersInTime;
  MergeOptions options;
  options.is_gentle = is_gentle;
  options.most_work_of_group = Duration(size.work / devices / kGroupsOnDevice);
  std::int64_t capacity = std::numeric_limits<std::int64_t>::max();
  for (std::size_t d = 0; d < problem.cluster().device_count(); ++d) {
    if (const auto bytes = problem.capacity(DeviceId(d))) capacity = std::min(capacity, bytes->value());
  }
  options.most_bytes_of_group = Bytes(capacity / kGroupsOnDevice);
  for (int in_vain = 0; in_vain < 2 && !budget.expired();) {
    const Problem& finer = this->problem(level_count() - 1);
    const std::size_t count = finer.task_count();
    if (count <= coarsest) return;
    options.longest = Duration(std::min(longest, 1 + kMostOfMean * size.work / static_cast<std::int64_t>(count)));
    const Merging merging = merge(finer, options);
    options.backward = !options.backward;
    if (merging.cluster_count > kProgress * static_cast<double>(count)) {
      ++in_vain;
      continue;
    }
    in_vain = 0;
    levels_.emplace_back(finer, merging);
  }
}

}  // namespace opweave::coarsen
