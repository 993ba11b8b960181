#include "planner/improve_placements.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <string>

#include "placement_search/training_placement.h"
#include "planner/side_by_side.h"
#include "planner/slice.h"

namespace opweave {
namespace {

/// Starts whose placements are begun from.
constexpr std::size_t kStarts = 12;
/// Evaluations of orders that take as long as a placement dispatched (measured 0.5), and scheduled (265).
constexpr std::uint64_t kOrdersPerDispatch = 1;
constexpr std::uint64_t kOrdersPerSchedule = 250;
/// Schedules of the placements found by a search of limited work.
constexpr std::uint64_t kMostSchedules = 40;
/// By the clock, the share of what is left of the time that a search gets, and how much shorter its best must be than
/// what was known for another to follow.
constexpr double kCycleShare = 0.5;
constexpr double kWorthwhile = 0.995;

}  // namespace

PlacementsFound search_placements(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                                  const std::vector<Start>& starts, std::optional<std::uint64_t> work,
                                  IncumbentStore& incumbent, std::optional<std::uint32_t> stands_for) {
  PlacementsFound result;
  if (!options.searches_placement || starts.empty() || !TrainingPlacement::applies_to(problem)) return result;
  const std::size_t parallel_searches = work ? kRepeatableSearches : std::max(1U, options.threads);
  TrainingPlacement::Effort most;
  if (work) {
    most.scheduled = std::min(kMostSchedules, *work / parallel_searches / 2 / kOrdersPerSchedule);
    most.dispatched = (*work / parallel_searches - most.scheduled * kOrdersPerSchedule) / kOrdersPerDispatch;
    if (most.scheduled == 0) return result;
  }
  std::vector<std::vector<ModeIndex>> placements;
  for (const Start& start : starts) {
    if (placements.size() < kStarts) placements.push_back(start.schedule.modes());
  }
  std::vector<std::vector<TrainingPlacement::Found>> found(parallel_searches);
  std::vector<std::uint64_t> orders(parallel_searches, 0);
  side_by_side(std::min<std::size_t>(std::max(1U, options.threads), parallel_searches), [&](std::size_t worker) {
    for (std::size_t number = worker; number < parallel_searches; number += std::max(1U, options.threads)) {
      TrainingPlacement search(problem, placements, options.seed + number, stands_for);
      Duration best = starts.front().makespan;
      for (bool is_worthwhile = true; is_worthwhile && !budget.expired();) {
        std::vector<TrainingPlacement::Found> more = search.search(work ? budget : budget.share(kCycleShare), most);
        orders[number] +=
            kOrdersPerDispatch * search.effort().dispatched + kOrdersPerSchedule * search.effort().scheduled;
        is_worthwhile =
            !work && !more.empty() && !search.is_saturated() &&
            static_cast<double>(more.front().makespan.value()) < kWorthwhile * static_cast<double>(best.value());
        if (!more.empty()) best = std::min(best, more.front().makespan);
        std::ranges::move(more, std::back_inserter(found[number]));
      }
    }
  });
  const std::string method = "layers placed by search";
  for (std::vector<TrainingPlacement::Found>& each : found) {
    for (TrainingPlacement::Found& one : each) {
      if (!incumbent.offer(one.schedule, method) && !is_valid(problem, one.schedule)) continue;
      result.starts.push_back({std::move(one.schedule), one.makespan, method, false});
    }
  }
  std::ranges::stable_sort(result.starts, {}, &Start::makespan);
  result.orders = std::accumulate(orders.begin(), orders.end(), std::uint64_t{0});
  return result;
}

std::uint64_t improve_placements(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                                 std::vector<Start>& starts, std::optional<std::uint64_t> work,
                                 IncumbentStore& incumbent) {
  PlacementsFound found = search_placements(problem, budget, options, starts, work, incumbent);
  for (Start& start : found.starts) add_start(starts, std::move(start));
  std::ranges::stable_sort(starts, {}, &Start::makespan);
  return found.orders;
}

}  // namespace opweave
