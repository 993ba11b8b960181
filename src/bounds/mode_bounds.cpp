#include <algorithm>

#include "bounds/bound_context.h"
#include "opweave/bounds.h"

namespace opweave {
namespace {

/// The problem without what memory forbids: a plan with any modes is one of it, once what brings values back is left
/// out (docs/bounds.md).
Problem without_memory(const Problem& problem) {
  ClusterParts parts = problem.cluster().parts();
  for (Device& device : parts.devices) device.memory.reset();
  ProblemSettings settings = problem.settings();
  settings.memory_limit.reset();
  settings.memory_modes = {};
  settings.training.reduction_stream.clear();
  return Problem::create(problem.graph(), Cluster::create(std::move(parts)), std::move(settings));
}

}  // namespace

std::vector<LowerBound> lower_bounds_with_modes(const Problem& problem, const Budget& budget) {
  using namespace bounds;
  std::vector<LowerBound> result = lower_bounds(without_memory(problem), budget);
  if (budget.expired()) return result;
  const Relaxation relaxation(problem);
  // Heads and tails of memory-path do not hold: what waits for memory may have it earlier.
  const Ends ends{path_lengths(relaxation, Direction::kForward), path_lengths(relaxation, Direction::kBackward)};
  const MemoryPools pools(relaxation);
  const ModeRules rules(problem);
  const BoundContext context{relaxation, pools, ends, budget, 0, &rules};
  if (std::optional<LowerBound> ramp = memory_ramp_bound(context)) {
    ramp->name = "memory-ramp (modes)";
    result.push_back(std::move(*ramp));
  }
  std::ranges::stable_sort(result, std::ranges::greater(), &LowerBound::value);
  return result;
}

std::vector<std::string> infeasibility_proofs_with_modes(const Problem& problem) {
  return infeasibility_proofs(without_memory(problem));
}

}  // namespace opweave
