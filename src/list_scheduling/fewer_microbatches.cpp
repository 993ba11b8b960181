#include "list_scheduling/fewer_microbatches.h"

#include <algorithm>

namespace opweave {

Problem with_fewer_microbatches(const Problem& problem, std::uint32_t most) {
  ProblemSettings settings = problem.settings();
  Training& training = settings.training;
  const std::uint32_t all = training.microbatches;
  if (all <= most) return problem;
  training.microbatches = std::max(most, training.replicas);
  training.replica_of_microbatch.clear();
  for (std::uint32_t b = 0; b < training.microbatches; ++b) {
    const std::uint32_t sampled = sampled_microbatch(b, training.microbatches, all);
    training.replica_of_microbatch.push_back(problem.settings().training.replica_of(sampled));
  }
  return Problem::create(problem.graph(), problem.cluster(), settings);
}

std::vector<ModeIndex> fewer_modes(const Problem& problem, const Problem& fewer, const std::vector<ModeIndex>& modes) {
  std::vector<ModeIndex> result(fewer.task_count());
  const std::uint32_t all = problem.settings().training.microbatches;
  const std::uint32_t some = fewer.settings().training.microbatches;
  for (std::size_t t = 0; t < result.size(); ++t) {
    const Task& task = fewer.task(TaskId(t));
    const bool per_replica = fewer.op(TaskId(t)).phase == Phase::kOptimizer;
    const std::uint32_t copy = per_replica ? task.copy : sampled_microbatch(task.copy, some, all);
    result[t] = modes[problem.task_of(task.op, copy).index()];
  }
  return result;
}

}  // namespace opweave
