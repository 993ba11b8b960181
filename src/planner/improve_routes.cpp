#include "planner/improve_routes.h"

#include <algorithm>
#include <vector>

#include "planner/search_lanes.h"
#include "planner/side_by_side.h"

namespace opweave {
namespace {

/// Searches under a work limit: fixed, because the result must not depend on the threads at hand.
constexpr std::size_t kSearches = 2;

}  // namespace

Start improve_routes(const std::shared_ptr<const routing::Model>& model, const Budget& budget,
                     const PlannerOptions& options, const Start& start, std::uint64_t work, IncumbentStore& incumbent) {
  std::vector<std::unique_ptr<RoutingSearch>> searches;
  for (std::size_t i = 0; i < kSearches; ++i) {
    searches.push_back(std::make_unique<RoutingSearch>(model, start.schedule, options.seed + i));
  }
  const std::size_t workers = std::min<std::size_t>(std::max(1U, options.threads), searches.size());
  const auto work_through = [&](std::size_t worker) {
    for (std::size_t i = worker; i < searches.size(); i += workers) {
      const Duration bound = incumbent.lower_bound();
      searches[i]->advance(work / searches.size(), [&] { return budget.expired() || searches[i]->makespan() <= bound; },
                           {});
    }
  };
  side_by_side(workers, work_through);
  Start best = start;
  for (const auto& search : searches) {
    incumbent.offer(search->best(), kRoutingSearch);
    if (search->makespan() < best.makespan) best = {search->best(), search->makespan(), kRoutingSearch};
  }
  return best;
}

}  // namespace opweave
