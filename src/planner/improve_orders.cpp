#include "planner/improve_orders.h"

#include <algorithm>
#include <limits>
#include <string>

#include "order_search/order_search.h"
#include "planner/side_by_side.h"

namespace opweave {
namespace {

/// Lanes under a work limit: fixed, because the result must not depend on the threads at hand.
constexpr std::size_t kRepeatableLanes = 2;
/// Starts of different placements that get a trial, at every heat, before the best of them gets the rest.
constexpr std::size_t kTrials = 3;
/// Share of the budget that all trials get together.
constexpr double kTrialShare = 0.3;
/// Temperatures of the order search to choose from, in mean durations. A start that was built for
/// operators wants little heat; one that was built for whole stages must be taken apart first (docs/order-search.md).
constexpr double kHeats[] = {4, 0.4};
/// Seconds between two offers of one lane: an offer costs a full check.
constexpr double kOfferInterval = 0.2;

/// One search from one start, with its own seed.
struct Attempt {
  Start* start;
  std::uint64_t seed;
  std::uint64_t max_evaluations;
  double heat;
  Schedule result;
};

class Improver {
 public:
  Improver(const Problem& problem, const PlannerOptions& options, IncumbentStore& incumbent)
      : problem_(problem), options_(options), incumbent_(incumbent) {}

  /// Runs the lanes on the threads at hand; afterwards each lane holds its best schedule, and each start the best of
  /// its lanes.
  void run(std::vector<Attempt>& lanes, const Budget& budget, bool shares_time) {
    const std::size_t workers = std::min<std::size_t>(std::max(1U, options_.threads), lanes.size());
    const std::size_t turns = (lanes.size() + workers - 1) / workers;
    const auto work_through = [&](std::size_t worker) {
      std::size_t turns_left = turns;
      for (std::size_t i = worker; i < lanes.size(); i += workers, --turns_left) {
        const Budget own = shares_time ? budget.share(1.0 / static_cast<double>(turns_left)) : budget;
        search(lanes[i], own);
      }
    };
    side_by_side(workers, work_through);
    // In lane order, so that the incumbent's trajectory is repeatable where the work is.
    for (const Attempt& lane : lanes) incumbent_.offer(lane.result, method(lane));
    for (const Attempt& lane : lanes) {
      const Duration makespan = lane.result.makespan(problem_);
      if (makespan < lane.start->makespan) *lane.start = {lane.result, makespan, lane.start->method};
    }
  }

 private:
  static std::string method(const Attempt& lane) { return "order search from " + lane.start->method; }

  void search(Attempt& lane, const Budget& budget) {
    double next_offer = 0;
    const bool repeatable = budget.work_limit().has_value();
    const auto on_improvement = [&](const Schedule& schedule) {
      if (repeatable || budget.elapsed() < next_offer) return;
      next_offer = budget.elapsed() + kOfferInterval;
      incumbent_.offer(schedule, method(lane));
    };
    lane.result = improve_order(problem_, lane.start->schedule, budget, {lane.seed, lane.max_evaluations, lane.heat},
                                on_improvement);
  }

  const Problem& problem_;
  const PlannerOptions& options_;
  IncumbentStore& incumbent_;
};

}  // namespace

void improve_orders(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                    std::vector<Start>& starts, std::optional<std::uint64_t> work, IncumbentStore& incumbent) {
  Improver improver(problem, options, incumbent);
  const auto evaluations = [&](double share, std::size_t lanes) {
    if (!work) return std::numeric_limits<std::uint64_t>::max();
    return static_cast<std::uint64_t>(static_cast<double>(*work) * share / static_cast<double>(lanes));
  };

  const std::size_t trials = std::min(kTrials, starts.size());
  std::vector<Attempt> lanes;
  for (std::size_t i = 0; i < trials; ++i) {
    for (const double heat : kHeats) {
      lanes.push_back({&starts[i], options.seed + i, evaluations(kTrialShare, trials * std::size(kHeats)), heat, {}});
    }
  }
  improver.run(lanes, budget.share(kTrialShare), true);
  if (incumbent.is_optimal() || budget.expired()) return;

  const Attempt winner = *std::min_element(lanes.begin(), lanes.end(), [&](const Attempt& a, const Attempt& b) {
    return a.result.makespan(problem) < b.result.makespan(problem);
  });
  const std::size_t lane_count = work ? kRepeatableLanes : std::max(1U, options.threads);
  lanes.clear();
  for (std::size_t i = 0; i < lane_count; ++i) {
    lanes.push_back({winner.start, options.seed + 1000 + i, evaluations(1 - kTrialShare, lane_count), winner.heat, {}});
  }
  improver.run(lanes, budget, false);
  std::stable_sort(starts.begin(), starts.end(),
                   [](const Start& a, const Start& b) { return a.makespan < b.makespan; });
}

}  // namespace opweave
