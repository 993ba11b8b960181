#include "planner/improve.h"

#include <algorithm>
#include <memory>
#include <thread>

#include "heuristics/routing_search.h"
#include "planner/exact_lane.h"
#include "planner/improve_orders.h"
#include "planner/portfolio.h"
#include "planner/search_lanes.h"

namespace opweave {
namespace {

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
