#include <fmt/format.h>

#include <algorithm>

#include "bounds/earliest.h"
#include "bounds/memory_pools.h"
#include "bounds/packing.h"
#include "bounds/relaxation.h"
#include "opweave/bounds.h"

namespace opweave {

std::vector<std::string> infeasibility_proofs(const Problem& problem) {
  using namespace bounds;
  const Relaxation relaxation(problem);
  std::vector<std::string> result = relaxation.placement().proofs();
  result.insert(result.end(), relaxation.unreachable().begin(), relaxation.unreachable().end());
  const MemoryPools pools(relaxation);
  bool parameters_fit = true;
  for (const MemoryPool& pool : pools.pools()) {
    if (!pool.capacity || *pool.capacity >= 0) continue;
    parameters_fit = false;
    const std::string where = pool.devices.size() == 1
                                  ? fmt::format("device \"{}\"", problem.cluster().at(pool.devices.front()).name)
                                  : fmt::format("{} devices", pool.devices.size());
    result.push_back(
        fmt::format("parameters that must live on {} exceed its memory by {} bytes", where, -*pool.capacity));
  }
  // Where parameters alone overflow, every operator would be named again.
  if (!parameters_fit) return result;
  if (std::optional<std::string> proof = packing_proof(relaxation)) result.push_back(std::move(*proof));
  for (const Direction direction : {Direction::kForward, Direction::kBackward}) {
    std::vector<std::string> found;
    (void)memory_path_lengths(relaxation, pools, direction, &found);
    for (std::string& proof : found) {
      if (std::find(result.begin(), result.end(), proof) == result.end()) result.push_back(std::move(proof));
    }
  }
  return result;
}

}  // namespace opweave
