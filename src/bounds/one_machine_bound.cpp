#include "bounds/bound_context.h"
#include "bounds/jackson.h"

namespace opweave::bounds {

std::optional<LowerBound> one_machine_bound(const BoundContext& context) {
  const Relaxation& relaxation = context.relaxation;
  const Problem& problem = relaxation.problem();
  std::optional<LowerBound> best;
  for (const MemoryPool& pool : context.pools.pools()) {
    if (pool.kind != MemoryPoolKind::kDevice) continue;
    for (std::size_t s = 0; s < problem.cluster().stream_names().size(); ++s) {
      std::vector<Job> jobs;
      for (const Index member : pool.members) {
        for (const Index task : relaxation.classes()[member].tasks) {
          if ((problem.streams(TaskId(task)) >> s & 1U) == 0) continue;
          jobs.push_back({context.ends.head[task], relaxation.duration(task), context.ends.tail[task]});
        }
      }
      if (jobs.empty()) continue;
      const Duration value(jackson_bound(std::move(jobs)));
      if (!best || value > best->value) best = {"one-machine", value, describe(problem, pool.devices, StreamId(s))};
    }
    if (context.budget.expired()) break;
  }
  return best;
}

}  // namespace opweave::bounds
