#include "planner/improve.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <thread>

#include "heuristics/order_search.h"
#include "heuristics/routing_search.h"
#include "planner/exact_lane.h"
#include "planner/portfolio.h"
#include "planner/search_lanes.h"

namespace opweave {
namespace {

/// Lanes under a work limit: fixed, because the result must not depend on the threads at hand.
constexpr std::size_t kRepeatableLanes = 2;
/// Starts of different placements that get a trial, at every heat, before the best of them gets the rest.
constexpr std::size_t kTrials = 3;
/// Share of the budget that all trials get together.
constexpr double kTrialShare = 0.3;
/// Temperatures of the order search to choose from, in mean durations. A start that was built for
/// operators wants little heat; one that was built for whole stages must be taken apart first.
constexpr double kHeats[] = {4, 1};
/// Seconds between two offers of one lane: an offer costs a full check.
constexpr double kOfferInterval = 0.2;

/// One search from one start, with its own seed.
struct Lane {
  const Start* start;
  std::uint64_t seed;
  std::uint64_t max_evaluations;
  double heat;
  Schedule result;
};

class Improver {
 public:
  Improver(const Problem& problem, const PlannerOptions& options, IncumbentStore& incumbent)
      : problem_(problem), options_(options), incumbent_(incumbent) {}

  /// Runs the lanes on the threads at hand; afterwards each lane holds its best schedule.
  void run(std::vector<Lane>& lanes, const Budget& budget, bool shares_time) {
    const std::size_t workers = std::min<std::size_t>(std::max(1U, options_.threads), lanes.size());
    const std::size_t turns = (lanes.size() + workers - 1) / workers;
    const auto work_through = [&](std::size_t worker) {
      std::size_t turns_left = turns;
      for (std::size_t i = worker; i < lanes.size(); i += workers, --turns_left) {
        const Budget own = shares_time ? budget.share(1.0 / static_cast<double>(turns_left)) : budget;
        search(lanes[i], own);
      }
    };
    std::vector<std::thread> threads;
    for (std::size_t worker = 1; worker < workers; ++worker) threads.emplace_back(work_through, worker);
    work_through(0);
    for (std::thread& thread : threads) thread.join();
    // In lane order, so that the incumbent's trajectory is repeatable where the work is.
    for (const Lane& lane : lanes) incumbent_.offer(lane.result, method(lane));
  }

 private:
  static std::string method(const Lane& lane) { return "order search from " + lane.start->method; }

  void search(Lane& lane, const Budget& budget) {
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

/// Trials of the best starts, then the best of them with all that is left.
void improve_orders(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                    const std::vector<Start>& starts, std::optional<std::uint64_t> work, IncumbentStore& incumbent) {
  Improver improver(problem, options, incumbent);
  const auto evaluations = [&](double share, std::size_t lanes) {
    if (!work) return std::numeric_limits<std::uint64_t>::max();
    return static_cast<std::uint64_t>(static_cast<double>(*work) * share / static_cast<double>(lanes));
  };

  const std::size_t trials = std::min(kTrials, starts.size());
  std::vector<Lane> lanes;
  for (std::size_t i = 0; i < trials; ++i) {
    for (const double heat : kHeats) {
      lanes.push_back({&starts[i], options.seed + i, evaluations(kTrialShare, trials * std::size(kHeats)), heat, {}});
    }
  }
  improver.run(lanes, budget.share(kTrialShare), true);
  if (incumbent.is_optimal() || budget.expired()) return;

  const Lane& winner = *std::min_element(lanes.begin(), lanes.end(), [&](const Lane& a, const Lane& b) {
    return a.result.makespan(problem) < b.result.makespan(problem);
  });
  const Start best{winner.result, winner.result.makespan(problem), winner.start->method};
  const double heat = winner.heat;
  const std::size_t lane_count = work ? kRepeatableLanes : std::max(1U, options.threads);
  lanes.clear();
  for (std::size_t i = 0; i < lane_count; ++i) {
    lanes.push_back({&best, options.seed + 1000 + i, evaluations(1 - kTrialShare, lane_count), heat, {}});
  }
  improver.run(lanes, budget, false);
}

/// Tasks of the largest problem whose placement the routing search looks at.
constexpr std::size_t kMostRoutedTasks = 4000;
/// Lanes of the routing search under a work limit: fixed, as above.
constexpr std::size_t kRepeatableRoutes = 2;
/// Evaluations where neither time nor work is limited.
constexpr std::uint64_t kDefaultWork = 200'000;
/// Share of the work, or of the turns, that placement gets where the order has to be searched with memory and
/// contention.
constexpr double kRoutingShare = 0.5;
/// Share of a lone thread that the solver gets beside the searches.
constexpr double kSolverShare = 0.35;

/// What the routing search needs, if the placement is open and the problem is not too large for it.
std::shared_ptr<const routing::Model> routing_model(const Problem& problem) {
  if (problem.task_count() > kMostRoutedTasks || problem.settings().training.microbatches > 1) return nullptr;
  std::shared_ptr<const routing::Model> model = routing::Model::create(problem);
  return model && model->has_choice() ? model : nullptr;
}

/// A fixed number of searches, each with its part of the work: the result depends on nothing else, and more work
/// continues what less work did.
Start improve_routes(const std::shared_ptr<const routing::Model>& model, const Budget& budget,
                     const PlannerOptions& options, const Start& start, std::uint64_t work, IncumbentStore& incumbent) {
  std::vector<std::unique_ptr<RoutingSearch>> searches;
  for (std::size_t i = 0; i < kRepeatableRoutes; ++i) {
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
  std::vector<std::thread> threads;
  for (std::size_t worker = 1; worker < workers; ++worker) threads.emplace_back(work_through, worker);
  work_through(0);
  for (std::thread& thread : threads) thread.join();
  Start best = start;
  for (const auto& search : searches) {
    incumbent.offer(search->best(), kRoutingSearch);
    if (search->makespan() < best.makespan) best = {search->best(), search->makespan(), kRoutingSearch};
  }
  return best;
}

/// Lanes by the clock: searches on every thread, the solver on one of them, or beside the searches on a lone one.
void run_lanes(const Problem& problem, const std::shared_ptr<const routing::Model>& model, const Budget& budget,
               const PlannerOptions& options, IncumbentStore& incumbent) {
  const unsigned threads = std::max(1U, options.threads);
  std::unique_ptr<ExactLane> solver =
      std::make_unique<ExactLane>(problem, ExactLane::is_small(problem), options.seed, incumbent);
  if (solver->is_done() || options.method == Method::kHeuristic) solver = nullptr;
  const unsigned searching = threads > 1 && solver ? threads - 1 : threads;
  std::vector<Shift> shifts(searching);
  for (unsigned i = 0; i < searching; ++i) {
    shifts[i].turns.push_back({std::make_unique<RoutingLane>(model, options.seed + i, incumbent), kRoutingShare});
    if (model->needs_exact_timing()) {
      shifts[i].turns.push_back(
          {std::make_unique<OrderLane>(problem, options.seed + 1000 * (i + 1), incumbent), 1 - kRoutingShare});
    }
  }
  if (solver && threads == 1) {
    shifts.front().turns.push_back({std::move(solver), kSolverShare});
  } else if (solver) {
    shifts.emplace_back().turns.push_back({std::move(solver), 1});
  }
  run_portfolio(std::move(shifts), budget, incumbent);
}

}  // namespace

void improve(const Problem& problem, const Budget& budget, const PlannerOptions& options,
             const std::vector<Start>& starts, std::optional<std::uint64_t> work, IncumbentStore& incumbent) {
  if (starts.empty() || (work && *work == 0)) return;
  const std::shared_ptr<const routing::Model> model = routing_model(problem);
  if (!model) return improve_orders(problem, budget, options, starts, work, incumbent);
  if (!work && budget.remaining()) return run_lanes(problem, model, budget, options, incumbent);
  const std::uint64_t all = work.value_or(kDefaultWork);
  const double share = model->needs_exact_timing() ? kRoutingShare : 1;
  const auto on_routes = static_cast<std::uint64_t>(static_cast<double>(all) * share);
  const Start best = improve_routes(model, budget, options, starts.front(), on_routes, incumbent);
  if (share < 1 && !incumbent.is_optimal() && !budget.expired()) {
    improve_orders(problem, budget, options, {best}, all - on_routes, incumbent);
  }
}

}  // namespace opweave
