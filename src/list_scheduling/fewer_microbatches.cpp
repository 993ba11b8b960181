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

}  // namespace opweave
