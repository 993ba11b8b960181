#include "planner/improve.h"

#include <algorithm>
#include <memory>

#include "placement_search/routing_search.h"
#include "planner/doubling_parts.h"
#include "planner/exact_lane.h"
#include "planner/improve_blocks.h"
#include "planner/improve_levels.h"
#include "planner/improve_orders.h"
#include "planner/improve_placements.h"
#include "planner/improve_routes.h"
#include "planner/portfolio.h"
#include "planner/search_lanes.h"
#include "planner/side_by_side.h"
#include "planner/target_lane.h"

namespace opweave {
namespace {

/// Share of the time for placement by levels, before the order search at the best placement.
constexpr double kShareOfLevels = 0.7;
/// Tasks of the smallest problem that is placed by levels before it is searched as a whole, and the share of the time.
constexpr std::size_t kFewestMergedTasks = 500;
constexpr double kShareOfFirstLevels = 0.2;
/// Evaluations where neither time nor work is limited.
constexpr std::uint64_t kDefaultWork = 200'000;
/// Share of the work, or of the turns, that placement gets where the order has to be searched with memory and
/// contention.
constexpr double kRoutingShare = 0.5;
/// The same for the placement of training steps, which the order search follows: of the work, and of the time at most,
/// as long as it gets on.
constexpr double kPlacementShare = 0.25;
constexpr double kMostPlacementShare = 0.5;
/// Share of a lone thread that the solver gets beside the searches.
constexpr double kSolverShare = 0.35;
/// The same for targets, where they can lead to plans and where they only bound.
constexpr double kTargetShare = 0.2;
constexpr double kRelaxedTargetShare = 0.1;

/// Of the time, what the solver gets before the order search on a lone thread.
constexpr double kFirstShareOfSolver = 0.1;
/// Intervals of the largest whole problem that the solver tries: where the placement is open, and where only orders are
/// left to find, which the order search does well, so that a proof is what the solver is wanted for.
constexpr std::size_t kMostIntervals = 6000;
constexpr std::size_t kMostIntervalsOfOrder = 600;

/// CP-SAT, if it is allowed and there.
std::unique_ptr<ExactLane> solver_lane(const Problem& problem, bool solves_whole, const PlannerOptions& options,
                                       IncumbentStore& incumbent) {
  if (options.method == Method::kHeuristic) return nullptr;
  auto lane = std::make_unique<ExactLane>(problem, solves_whole, options.seed, incumbent);
  return lane->is_done() ? nullptr : std::move(lane);
}

/// CP-SAT on targets, if it is allowed, there, and of use.
std::unique_ptr<TargetLane> target_lane(const ProblemTraits& traits, const PlannerOptions& options,
                                        IncumbentStore& incumbent) {
  if (options.method == Method::kHeuristic || !TargetLane::supports(traits)) return nullptr;
  auto lane = std::make_unique<TargetLane>(traits.problem, options.seed, incumbent);
  return lane->is_done() ? nullptr : std::move(lane);
}

/// Open placement, by the clock: searches on every thread, the solver on one of them, or beside the search on a lone
/// one.
void work_on_placement(const ProblemTraits& traits, const std::shared_ptr<const routing::Model>& model,
                       const Budget& budget, const PlannerOptions& options, IncumbentStore& incumbent) {
  const Problem& problem = traits.problem;
  const unsigned threads = std::max(1U, options.threads);
  auto targets = target_lane(traits, options, incumbent);
  auto solver = solver_lane(problem, ExactLane::size(problem) <= kMostIntervals, options, incumbent);
  const unsigned searching = threads > 1 && solver ? threads - 1 : threads;
  std::vector<Worker> workers(searching);
  for (unsigned i = 0; i < searching; ++i) {
    workers[i].turns.push_back({std::make_unique<RoutingLane>(model, options.seed + i, incumbent), kRoutingShare});
    if (model->needs_exact_timing()) {
      workers[i].turns.push_back(
          {std::make_unique<OrderLane>(problem, options.seed + 1000 * (i + 1), incumbent), 1 - kRoutingShare});
    }
  }
  if (solver) {
    Worker& worker = threads == 1 ? workers.front() : workers.emplace_back();
    double on_targets = 0;
    if (targets) on_targets = targets->is_exact() ? kTargetShare : kRelaxedTargetShare;
    worker.turns.push_back({std::move(solver), kSolverShare - on_targets / 2});
    if (targets) worker.turns.push_back({std::move(targets), on_targets});
  }
  run_portfolio(std::move(workers), budget, incumbent);
}

/// Fixed placement, or too large a problem to change it, by the clock: the order search, and the solver where the
/// problem is small enough for a proof.
void work_on_order(const Problem& problem, const Budget& budget, PlannerOptions options, std::vector<Start> starts,
                   IncumbentStore& incumbent) {
  const bool is_small = ExactLane::size(problem) <= kMostIntervalsOfOrder;
  auto solver = is_small ? solver_lane(problem, true, options, incumbent) : nullptr;
  const Budget until_final = budget.until(&incumbent.is_final());
  (void)improve_placements(problem, until_final.share(kMostPlacementShare), options, starts, std::nullopt, incumbent);
  if (!solver) return improve_orders(problem, until_final, options, starts, std::nullopt, incumbent);
  if (options.threads <= 1) {
    solver->advance(until_final.share(kFirstShareOfSolver));
    if (!until_final.expired()) improve_orders(problem, until_final, options, starts, std::nullopt, incumbent);
    return;
  }
  --options.threads;
  std::vector<Worker> workers(1);
  workers.front().turns.push_back({std::move(solver), 1});
  side_by_side(2, [&](std::size_t i) {
    if (i == 1) return run_portfolio(std::move(workers), budget, incumbent);
    improve_orders(problem, until_final, options, starts, std::nullopt, incumbent);
  });
}

/// Open placement of a problem too large to be searched at once, by the clock.
void work_on_levels(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                    const Construction& construction, IncumbentStore& incumbent) {
  const double step = construction.longest_step;
  const Budget until_final = budget.until(&incumbent.is_final());
  Start best = construction.starts.front();
  const auto take = [&](std::optional<Start> better) {
    if (better) best = std::move(*better);
  };
  const Budget on_levels = until_final.share(kShareOfLevels);
  take(improve_blocks(problem, on_levels, step, options, incumbent));
  take(improve_levels(problem, on_levels, step, options, best, incumbent));
  if (until_final.expired() || *until_final.remaining() < step) return;
  // Other placements have had their chance there.
  std::vector<Start> starts = {std::move(best)};
  improve_orders(problem, until_final, options, starts, std::nullopt, incumbent);
}

std::uint64_t part_of(std::uint64_t work, double share) {
  return static_cast<std::uint64_t>(static_cast<double>(work) * share);
}

/// A limited number of evaluations, or a customary one. The starts get better, and come best first.
void improve_with_work(const Problem& problem, const std::shared_ptr<const routing::Model>& model, const Budget& budget,
                       const PlannerOptions& options, std::vector<Start>& starts, std::optional<std::uint64_t> work,
                       IncumbentStore& incumbent) {
  const std::uint64_t all = work.value_or(kDefaultWork);
  if (!model) {
    const std::uint64_t on_placement =
        improve_placements(problem, budget, options, starts, part_of(all, kPlacementShare), incumbent);
    if (work) *work -= std::min(*work, on_placement);
    return improve_orders(problem, budget, options, starts, work, incumbent);
  }
  const double share = model->needs_exact_timing() ? kRoutingShare : 1;
  const std::uint64_t on_routes = part_of(all, share);
  starts = {improve_routes(model, budget, options, starts.front(), on_routes, incumbent)};
  if (share < 1 && !incumbent.is_optimal() && !budget.expired()) {
    improve_orders(problem, budget, options, starts, all - on_routes, incumbent);
  }
}

}  // namespace

void improve(const ProblemTraits& traits, const Budget& budget, const PlannerOptions& options,
             const Construction& construction, std::optional<std::uint64_t> work, IncumbentStore& incumbent) {
  if (construction.starts.empty()) return;
  const Problem& problem = traits.problem;
  const std::shared_ptr<const routing::Model> model =
      RoutingLane::supports(traits) ? routing::Model::create(problem) : nullptr;
  if (!work && budget.remaining()) {
    if (model) {
      if (traits.tasks >= kFewestMergedTasks && levels_support(traits)) {
        const Budget first = budget.until(&incumbent.is_final()).share(kShareOfFirstLevels);
        // The searches that follow begin from the incumbent.
        (void)improve_levels(problem, first, construction.longest_step, options, construction.starts.front(), incumbent,
                             true);
      }
      return work_on_placement(traits, model, budget, options, incumbent);
    }
    if (levels_support(traits)) return work_on_levels(problem, budget, options, construction, incumbent);
    return work_on_order(problem, budget, options, construction.starts, incumbent);
  }
  std::vector<Start> starts = construction.starts;
  if (!work) return improve_with_work(problem, model, budget, options, starts, work, incumbent);
  PlannerOptions own = options;
  for (const std::uint64_t part : doubling_parts(*work)) {
    if (incumbent.is_optimal() || budget.expired()) return;
    improve_with_work(problem, model, budget, own, starts, part, incumbent);
    ++own.seed;
  }
}

}  // namespace opweave
