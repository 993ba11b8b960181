#include "planner/improve_placements.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>

#include "placement_search/training_placement.h"
#include "planner/side_by_side.h"

namespace opweave {
namespace {

/// Lanes under a work limit: fixed, because the result must not depend on the threads at hand.
constexpr std::size_t kRepeatableLanes = 2;
/// Evaluations of orders that take as long as a placement with its schedule: measured 265 on six steps of 400 to 3,100
/// tasks.
constexpr std::uint64_t kOrdersPerPlacement = 250;
/// Share of the time after which a lane that has gained nothing ends.
constexpr double kProbe = 0.4;

}  // namespace

std::uint64_t improve_placements(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                                 std::vector<Start>& starts, std::optional<std::uint64_t> work,
                                 IncumbentStore& incumbent) {
  if (starts.empty() || !TrainingPlacement::applies_to(problem)) return 0;
  const std::size_t lanes = work ? kRepeatableLanes : std::max(1U, options.threads);
  const std::uint64_t most = work ? *work / kOrdersPerPlacement / lanes : std::numeric_limits<std::uint64_t>::max();
  std::vector<std::optional<Schedule>> found(lanes);
  std::vector<std::uint64_t> valued(lanes);
  const std::size_t known = starts.size();
  side_by_side(std::min<std::size_t>(std::max(1U, options.threads), lanes), [&](std::size_t worker) {
    for (std::size_t lane = worker; lane < lanes; lane += std::max(1U, options.threads)) {
      TrainingPlacement search(problem, starts[lane % known].schedule.modes(), options.seed + lane);
      valued[lane] = search.improve(work ? budget : budget.share(kProbe), most);
      if (!work && search.has_improved()) search.improve(budget, most);
      if (search.has_improved()) found[lane] = search.schedule(budget);
    }
  });
  for (std::size_t lane = 0; lane < lanes; ++lane) {
    if (!found[lane]) continue;
    const std::string method = starts[lane % known].method + ", layers moved";
    incumbent.offer(*found[lane], method);
    if (!is_valid(problem, *found[lane])) continue;
    const Duration makespan = found[lane]->makespan(problem);
    starts.push_back({std::move(*found[lane]), makespan, method});
  }
  std::ranges::stable_sort(starts, {}, &Start::makespan);
  return kOrdersPerPlacement * std::accumulate(valued.begin(), valued.end(), std::uint64_t{0});
}

}  // namespace opweave
