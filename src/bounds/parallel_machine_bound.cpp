#include <algorithm>

#include "bounds/bound_context.h"

namespace opweave::bounds {
namespace {

__extension__ using Wide = __int128;

struct ParallelJob {
  Nanoseconds head;
  Nanoseconds tail;
  Nanoseconds work;
  std::int64_t widest;
};

/// Sum of the `count` smallest keys, where a job that may run on k devices counts up to k times.
template <class Key>
Wide sum_of_smallest(std::vector<ParallelJob>& jobs, std::int64_t count, Key key) {
  const auto prefix = std::min<std::size_t>(jobs.size(), static_cast<std::size_t>(count));
  std::partial_sort(jobs.begin(), jobs.begin() + static_cast<std::ptrdiff_t>(prefix), jobs.end(),
                    [key](const ParallelJob& a, const ParallelJob& b) { return key(a) < key(b); });
  Wide sum = 0;
  for (std::size_t i = 0; i < prefix && count > 0; ++i) {
    const std::int64_t times = std::min(count, jobs[i].widest);
    sum += Wide{key(jobs[i])} * times;
    count -= times;
  }
  return sum;
}

/// Machines are idle before their first job and after their last: (sum of the least heads + work +
/// sum of the least tails) / machines. With fewer than 2 m - 1 jobs only the first half of them is
/// certain to exceed no plan (docs/bounds.md).
Nanoseconds bound_of(std::vector<ParallelJob> jobs, std::int64_t machines) {
  const std::int64_t counted = std::min(machines, (static_cast<std::int64_t>(jobs.size()) + 1) / 2);
  Wide sum = 0;
  for (const ParallelJob& job : jobs) sum += job.work;
  sum += sum_of_smallest(jobs, counted, [](const ParallelJob& job) { return job.head; });
  sum += sum_of_smallest(jobs, counted, [](const ParallelJob& job) { return job.tail; });
  return static_cast<Nanoseconds>((sum + machines - 1) / machines);
}

/// Up to `count` of the distinct keys, evenly spread, the least first.
template <class Key>
std::vector<Nanoseconds> thresholds(const std::vector<ParallelJob>& jobs, std::size_t count, Key key) {
  std::vector<Nanoseconds> all;
  for (const ParallelJob& job : jobs) all.push_back(key(job));
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  if (all.size() <= count) return all;
  std::vector<Nanoseconds> chosen;
  for (std::size_t i = 0; i < count; ++i) chosen.push_back(all[i * all.size() / count]);
  return chosen;
}

}  // namespace

std::optional<LowerBound> parallel_machine_bound(const BoundContext& context) {
  const Relaxation& relaxation = context.relaxation;
  const Problem& problem = relaxation.problem();
  std::optional<LowerBound> best;
  for (const MemoryPool& pool : context.pools.pools()) {
    if (pool.kind != MemoryPoolKind::kShared) continue;
    for (std::size_t s = 0; s < problem.cluster().stream_names().size(); ++s) {
      std::int64_t machines = 0;
      for (const DeviceId device : pool.devices) machines += problem.cluster().stream_mask(device) >> s & 1U;
      std::vector<ParallelJob> jobs;
      for (const Index member : pool.members) {
        for (const Index task : relaxation.classes()[member].tasks) {
          if ((problem.streams(TaskId(task)) >> s & 1U) == 0 || relaxation.work(task) == 0) continue;
          jobs.push_back({context.ends.head[task], context.ends.tail[task], relaxation.work(task),
                          static_cast<std::int64_t>(relaxation.widest(task))});
        }
      }
      if (jobs.empty()) continue;
      const std::size_t tried = jobs.size() > 100'000 ? 3 : 8;
      const auto heads = thresholds(jobs, tried, [](const ParallelJob& job) { return job.head; });
      const auto tails = thresholds(jobs, tried, [](const ParallelJob& job) { return job.tail; });
      std::vector<ParallelJob> chosen;
      for (const Nanoseconds head : heads) {
        for (const Nanoseconds tail : tails) {
          chosen.clear();
          std::copy_if(jobs.begin(), jobs.end(), std::back_inserter(chosen),
                       [&](const ParallelJob& job) { return job.head >= head && job.tail >= tail; });
          if (chosen.empty()) continue;
          const Duration value(bound_of(chosen, machines));
          if (!best || value > best->value) {
            best = {"parallel-machine", value, describe(problem, pool.devices, StreamId(s))};
          }
        }
        if (context.budget.expired()) return best;
      }
    }
  }
  return best;
}

}  // namespace opweave::bounds
