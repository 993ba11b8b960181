#include "opweave/planner.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "planner/minimise_makespan.h"
#include "planner/objective_search.h"

namespace opweave {
namespace {

struct MethodName {
  Method method;
  std::string_view name;
};
constexpr MethodName kMethods[] = {
    {Method::kAuto, "auto"},
    {Method::kHeuristic, "heuristic"},
    {Method::kMipDisjunctive, "mip-disjunctive"},
    {Method::kMipDisjunctive, "mip"},
    {Method::kMipTimeIndexed, "mip-time-indexed"},
    {Method::kCp, "cp"},
};

std::string describe_limit(const Budget& budget) {
  if (budget.work_limit()) return fmt::format("work {}", *budget.work_limit());
  if (budget.time_limit_seconds()) return fmt::format("time {} s", *budget.time_limit_seconds());
  return "none";
}

/// The limit that ended the search; empty if it ended by itself.
std::string reached_limit(const Budget& budget, bool optimal) {
  if (budget.stopped()) return "interrupt";
  const bool has_time = budget.time_limit_seconds() && !budget.work_limit() && !budget.expired();
  return optimal || has_time ? "" : describe_limit(budget);
}

Provenance provenance_of(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                         Finding& finding) {
  Provenance provenance;
  provenance.version = OPWEAVE_VERSION;
  provenance.method = finding.method;
  provenance.seed = options.seed;
  provenance.limit = describe_limit(budget);
  provenance.graph_hash = content_hash(problem.graph());
  provenance.cluster_hash = content_hash(problem.cluster());
  if (!budget.work_limit()) {
    provenance.seconds = budget.elapsed();
    provenance.trajectory = std::move(finding.trajectory);
  }
  return provenance;
}

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

}  // namespace

std::string_view to_string(Method method) {
  for (const MethodName& entry : kMethods) {
    if (entry.method == method) return entry.name;
  }
  throw InternalError("unknown method");
}

std::optional<Method> method_from_string(std::string_view text) {
  for (const MethodName& entry : kMethods) {
    if (entry.name == text) return entry.method;
  }
  return std::nullopt;
}

PlanResult plan(const Problem& problem, const Budget& budget, const PlannerOptions& options) {
  require_distinct(options.objectives);
  if (options.warm_start) require_valid(problem, *options.warm_start);
  const bool makespan_alone = options.objectives == std::vector{Objective::kMakespan} && !options.deadline;
  ObjectiveFinding found = makespan_alone ? ObjectiveFinding{minimise_makespan(problem, budget, options), {}}
                                          : search_for_objectives(problem, budget, options);
  Finding& finding = found.finding;
  PlanResult result;
  result.reason = finding.reason;
  result.bounds = finding.bounds;
  result.detail = finding.detail;
  if (finding.reason == PlanResult::Reason::kInfeasible) return result;
  result.limit = reached_limit(budget, finding.is_optimal);
  if (finding.schedule) {
    result.plan =
        make_plan(problem, *finding.schedule, result.bounds, provenance_of(problem, budget, options, finding));
    if (!makespan_alone) state_objectives(problem, options, found, *result.plan);
    const bool ends_early = result.limit.empty() && result.plan->status != PlanStatus::kOptimal;
    if (!makespan_alone && ends_early && result.detail.empty()) {
      result.detail = "the search ended before its limit: no method that is left could find better or prove more";
    }
  }
  return result;
}

}  // namespace opweave
