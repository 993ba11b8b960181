#include "opweave/planner.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "exact/engine.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "planner/minimise_makespan.h"
#include "planner/objective_search.h"
#include "planner/on_time.h"
#include "planner/provenance.h"

namespace opweave {
namespace {

struct MethodName {
  Method method;
  std::string_view name;
};
constexpr MethodName kMethodNames[] = {
    {Method::kAuto, "auto"},
    {Method::kHeuristic, "heuristic"},
    {Method::kMipDisjunctive, "mip-disjunctive"},
    {Method::kMipDisjunctive, "mip"},
    {Method::kMipTimeIndexed, "mip-time-indexed"},
    {Method::kCp, "cp"},
};

/// What the plan says it is for.
struct InputHashes {
  std::string graph;
  std::string cluster;
};

void require_valid(const Problem& problem, const Schedule& schedule) {
  if (schedule.tasks.size() != problem.task_count()) {
    throw InputError(
        fmt::format("warm start has {} tasks, the problem has {}", schedule.tasks.size(), problem.task_count()));
  }
  const auto violations = check(problem.graph(), problem.cluster(), make_plan(problem, schedule, {}, {}), 1);
  if (violations.empty()) return;
  throw InputError(
      fmt::format("warm start is not valid: {}: {}", to_string(violations.front().rule), violations.front().message),
      "see all violations with `opweave check`");
}

void require_distinct(std::vector<Objective> objectives) {
  if (objectives.empty()) throw InputError("no objective is given");
  std::sort(objectives.begin(), objectives.end());
  const auto twice = std::adjacent_find(objectives.begin(), objectives.end());
  if (twice == objectives.end()) return;
  throw InputError(fmt::format("objective \"{}\" is given twice", to_string(*twice)));
}

/// States the objectives in the plan, which then is optimal if all of them are.
void state_objectives(const Problem& problem, const PlannerOptions& options, const ObjectiveFinding& found,
                      Plan& plan) {
  plan.objectives = found.figures;
  plan.deadline = options.deadline;
  plan.status = found.finding.is_optimal ? PlanStatus::kOptimal : PlanStatus::kFeasible;
  const auto violations = check(problem.graph(), problem.cluster(), plan, 1);
  if (!violations.empty()) throw InternalError("check rejects the plan: " + violations.front().message);
}

/// A plan of what a search brings home, or the reason why there is none.
PlanResult result_of(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                     ObjectiveFinding found) {
  Finding& finding = found.finding;
  PlanResult result;
  result.reason = finding.reason;
  result.bounds = finding.bounds;
  result.detail = finding.detail;
  if (finding.reason == PlanResult::Reason::kInfeasible) return result;
  result.limit = reached_limit(budget, finding.is_optimal);
  if (finding.schedule) {
    if (result.detail.empty() && options.method == Method::kAuto && !finding.is_optimal) {
      result.detail = exact::missing_solver();
    }
    result.plan = make_plan(problem, *finding.schedule, result.bounds,
                            provenance_of(budget, options, finding.method, std::move(finding.trajectory)));
    if (!options.seeks_makespan_alone()) state_objectives(problem, options, found, *result.plan);
    const bool ends_early = result.limit.empty() && result.plan->status != PlanStatus::kOptimal;
    if (!options.seeks_makespan_alone() && ends_early && result.detail.empty()) {
      result.detail = "the search ended before its limit: no method that is left could find better or prove more";
    }
  }
  return result;
}

PlanResult search(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                  const std::shared_ptr<Exchange>& exchange) {
  const auto shortest = [&] { return minimise_makespan(problem, budget, options, std::nullopt, exchange); };
  return result_of(problem, budget, options,
                   options.seeks_makespan_alone() ? ObjectiveFinding{shortest(), {}}
                                                  : search_for_objectives(problem, budget, options));
}

/// What a search that was left behind has told of. The values of the objectives stand beside the bounds that hold for
/// every plan.
ObjectiveFinding finding_of(const Problem& problem, const PlannerOptions& options, Told told) {
  ObjectiveFinding found;
  found.finding.reason = PlanResult::Reason::kPlanned;
  found.finding.method = std::move(told.method);
  found.finding.bounds = std::move(told.bounds);
  found.finding.trajectory = std::move(told.trajectory);
  if (!options.seeks_makespan_alone()) {
    const PlanStatistics figures = statistics(problem, told.schedule);
    for (const Objective objective : options.objectives) {
      const bool has_bound = objective == Objective::kMakespan && !found.finding.bounds.empty();
      const LowerBound bound = has_bound ? found.finding.bounds.front() : LowerBound{};
      found.figures.push_back(
          {objective, objective_value(objective, problem, told.schedule, figures), bound.value.value(), bound.name});
    }
  }
  found.finding.is_optimal = options.seeks_makespan_alone() && !found.finding.bounds.empty() &&
                             found.finding.bounds.front().value == told.schedule.makespan(problem);
  found.finding.schedule = std::move(told.schedule);
  return found;
}

}  // namespace

std::string_view to_string(Method method) {
  for (const MethodName& entry : kMethodNames) {
    if (entry.method == method) return entry.name;
  }
  throw InternalError("unknown method");
}

std::optional<Method> method_from_string(std::string_view text) {
  for (const MethodName& entry : kMethodNames) {
    if (entry.name == text) return entry.method;
  }
  return std::nullopt;
}

PlanResult plan(const Problem& problem, const Budget& budget, const PlannerOptions& options) {
  return plan(problem, budget, options, nullptr);
}

PlanResult plan(const Problem& problem, const Budget& budget, const PlannerOptions& given,
                const std::shared_ptr<Exchange>& exchange) {
  require_distinct(given.objectives);
  if (problem.settings().memory_modes.any()) {
    throw InputError("memory modes are planned by plan_with_memory_modes() alone");
  }
  if (problem.settings().training.reduces_gradients()) {
    throw InputError("reductions of gradients are planned by plan_with_memory_modes() alone");
  }
  if (given.warm_start) require_valid(problem, *given.warm_start);
  PlannerOptions options = given;
  options.threads = std::clamp(options.threads, 1U, kMostThreads);
  InputHashes hashes;
  const auto find_hashes = [&] {
    if (hashes.graph.empty()) hashes = {content_hash(problem.graph()), content_hash(problem.cluster())};
  };
  // They take as long as writing the graph: while the search is at work, unless that takes a second processor.
  const auto meanwhile = [&] {
    if (options.threads > 1) find_hashes();
  };
  const auto search_here = [exchange](const Problem& own, const Budget& limits, const PlannerOptions& chosen) {
    return search(own, limits, chosen, exchange);
  };
  PlanResult result = on_time(problem, budget, options, search_here, meanwhile, [&](std::optional<Told> told) {
    return result_of(problem, budget, options,
                     told ? finding_of(problem, options, std::move(*told)) : ObjectiveFinding{});
  });
  if (result.plan) {
    find_hashes();
    result.plan->provenance.graph_hash = std::move(hashes.graph);
    result.plan->provenance.cluster_hash = std::move(hashes.cluster);
  }
  return result;
}

}  // namespace opweave
