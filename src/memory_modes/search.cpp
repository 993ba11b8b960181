#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "core/state_bounds.h"
#include "memory_modes/carry.h"
#include "memory_modes/every_choice.h"
#include "memory_modes/mode_incumbent.h"
#include "memory_modes/mode_objectives.h"
#include "memory_modes/mode_search.h"
#include "memory_modes/reductions.h"
#include "opweave/bounds.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/memory_modes.h"
#include "planner/on_time.h"
#include "planner/provenance.h"

namespace opweave {
namespace {

void require_supported(const Problem& problem, const PlannerOptions& options) {
  require_objectives_with_modes(options.objectives);
  if (problem.settings().blocks != Blocks::kNone) {
    throw InputError("memory modes and reductions are planned for single operators, expected no blocks");
  }
  (void)reductions_of(problem);  // which says what is wrong with them
}

/// Searches, and leaves what it finds in `findings`. \return the reason, if it is proven that there is no plan
PlanResult search_modes(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                        const ModeOptions& modes, const std::shared_ptr<ModeFindings>& findings) {
  PlanResult none;
  if (const auto proofs = infeasibility_proofs_with_modes(problem); !proofs.empty()) {
    none.reason = PlanResult::Reason::kInfeasible;
    none.detail = proofs.front();
    return none;
  }
  constexpr double kShareOfBounds = 0.05;
  findings->add_bounds(lower_bounds_with_modes(problem, budget.share(kShareOfBounds)));
  ModeIncumbent incumbent(problem, budget, options, findings->copy().bounds.front().value, findings);
  if (options.warm_start) {
    const MemoryChoice keep(problem.value_count(), MemoryMode::kKeep);
    const auto derived = ProblemWithMovements::create(problem, keep);
    const auto warm = ProblemWithMovements::create(without_reductions(problem), keep);
    if (const auto schedule = carry(warm, *options.warm_start, derived)) {
      incumbent.offer(derived, *schedule, "warm start");
    }
  }
  EveryChoice every(problem, budget, options);
  if (modes.is_uniform || !every.is_small()) {
    ModeSearch(problem, budget, options, modes, incumbent).run();
    return none;
  }
  const std::optional<Duration> bound = every.plan(incumbent);
  if (every.proves_infeasible() && !incumbent.best()) {
    none.reason = PlanResult::Reason::kInfeasible;
    none.detail = "no choice of memory modes has a valid plan";
  }
  if (bound) findings->add_bounds({{"memory-modes", *bound, "least over all choices of memory modes"}});
  return none;
}

}  // namespace

PlanResult plan_with_memory_modes(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                                  const ModeOptions& modes) {
  require_supported(problem, options);
  const auto findings = std::make_shared<ModeFindings>();
  const ShortestWithModes shortest = [modes](const Problem& own, const Budget& limits, const PlannerOptions& chosen,
                                             const std::shared_ptr<ModeFindings>& found) {
    return search_modes(own, limits, chosen, modes, found);
  };
  const auto search = [findings, shortest](const Problem& own, const Budget& limits, const PlannerOptions& chosen) {
    return chosen.seeks_makespan_alone() ? shortest(own, limits, chosen, findings)
                                         : search_objectives_with_modes(own, limits, chosen, shortest, *findings);
  };
  // As in plan(): the hashes take as long as writing the graph.
  std::string graph_hash;
  std::string cluster_hash;
  const auto find_hashes = [&] {
    if (!graph_hash.empty()) return;
    graph_hash = content_hash(problem.graph());
    cluster_hash = content_hash(problem.cluster());
  };
  const auto meanwhile = [&] {
    if (options.threads > 1) find_hashes();
  };
  PlanResult result =
      on_time(problem, budget, options, search, meanwhile, [](const std::optional<Told>&) { return PlanResult(); });
  ModeFindings::Copy found = findings->copy();
  result.bounds = std::move(found.bounds);
  if (result.reason == PlanResult::Reason::kInfeasible) return result;
  if (!found.best) {
    if (result.limit.empty()) result.limit = reached_limit(budget, false);
    return result;
  }
  result.reason = PlanResult::Reason::kPlanned;
  Provenance provenance = provenance_of(budget, options, found.best->method, found.trajectory);
  find_hashes();
  provenance.graph_hash = std::move(graph_hash);
  provenance.cluster_hash = std::move(cluster_hash);
  result.plan = *found.best->plan;  // made when it was found: it takes too long to be made when time is up
  result.plan->provenance = std::move(provenance);
  state_bounds(*result.plan, result.bounds);
  if (!options.seeks_makespan_alone()) {
    state_objectives(options, found, *result.plan);
    const auto violations = check(problem.graph(), problem.cluster(), *result.plan, 1);
    if (!violations.empty()) throw InternalError("check rejects the plan: " + violations.front().message);
  }
  if (result.limit.empty()) result.limit = reached_limit(budget, result.plan->status == PlanStatus::kOptimal);
  return result;
}

}  // namespace opweave
