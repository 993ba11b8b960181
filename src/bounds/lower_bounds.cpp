#include <algorithm>

#include "bounds/bound_context.h"
#include "opweave/bounds.h"

namespace opweave {

std::vector<LowerBound> lower_bounds(const Problem& problem, const Budget& budget) {
  using namespace bounds;
  std::vector<LowerBound> result;
  const auto add = [&](std::optional<LowerBound> bound) {
    if (bound) result.push_back(std::move(*bound));
  };
  const Relaxation relaxation(problem);
  Ends ends{path_lengths(relaxation, Direction::kForward), path_lengths(relaxation, Direction::kBackward)};
  add(path_bound(relaxation, ends, "critical-path"));
  if (result.empty()) return {{"critical-path", Duration(), "no operators"}};
  if (!budget.expired()) {
    const MemoryPools pools(relaxation);
    const bool limited = std::any_of(pools.pools().begin(), pools.pools().end(),
                                     [](const MemoryPool& pool) { return pool.capacity.has_value(); });
    if (limited && !budget.expired()) {
      ends = {memory_path_lengths(relaxation, pools, Direction::kForward),
              memory_path_lengths(relaxation, pools, Direction::kBackward)};
      add(path_bound(relaxation, ends, "memory-path"));
    }
    BoundContext context{relaxation, pools, ends, budget, 0};
    for (const auto bound :
         {load_bound, one_machine_bound, parallel_machine_bound, transfer_load_bound, memory_ramp_bound,
          memory_energy_bound, group_ramp_bound, subset_load_bound, packing_bound, device_order_bound}) {
      if (budget.expired()) break;
      for (const LowerBound& known : result) context.known = std::max(context.known, known.value.value());
      add(bound(context));
    }
  }
  std::stable_sort(result.begin(), result.end(),
                   [](const LowerBound& a, const LowerBound& b) { return a.value > b.value; });
  return result;
}

}  // namespace opweave
