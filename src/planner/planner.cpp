#include "opweave/planner.h"

#include <fmt/format.h>

#include <algorithm>

#include "opweave/bounds.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "planner/construct.h"
#include "planner/improve.h"
#include "planner/incumbent.h"

namespace opweave {
namespace {

std::string describe_limit(const Budget& budget) {
  if (budget.work_limit()) return fmt::format("work {}", *budget.work_limit());
  if (budget.time_limit_seconds()) return fmt::format("time {} s", *budget.time_limit_seconds());
  return "none";
}

/// The limit that ended the search; empty if it ended by itself.
std::string reached_limit(const Budget& budget, bool optimal) {
  if (budget.stopped()) return "interrupt";
  return optimal ? "" : describe_limit(budget);
}

Provenance provenance_of(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                         const IncumbentStore& incumbent) {
  Provenance provenance;
  provenance.version = OPWEAVE_VERSION;
  provenance.method = incumbent.method();
  provenance.seed = options.seed;
  provenance.limit = describe_limit(budget);
  provenance.graph_hash = content_hash(problem.graph());
  provenance.cluster_hash = content_hash(problem.cluster());
  if (!budget.work_limit()) {
    provenance.seconds = budget.elapsed();
    provenance.trajectory = incumbent.trajectory();
  }
  return provenance;
}

}  // namespace

PlanResult plan(const Problem& problem, const Budget& budget, const PlannerOptions& options) {
  PlanResult result;
  const std::vector<std::string> proofs = infeasibility_proofs(problem);
  if (!proofs.empty()) {
    result.reason = PlanResult::Reason::kInfeasible;
    result.detail = proofs.front();
    return result;
  }
  result.bounds = lower_bounds(problem, budget.share(0.2));
  IncumbentStore incumbent(problem, budget, result.bounds, options.on_progress);

  const Construction construction = construct(problem, budget, incumbent);
  if (!incumbent.makespan()) {
    result.limit = reached_limit(budget, false);
    if (!incumbent.last_rejection().empty()) {
      throw InternalError("check rejected every plan, the last one from " + incumbent.last_rejection());
    }
    result.detail = construction.any_placement_fits
                        ? "no schedule was finished"
                        : "no placement that was tried fits in memory, even run one operator at a time";
    return result;
  }
  if (!incumbent.is_optimal() && !budget.expired()) {
    std::optional<std::uint64_t> work = budget.work_limit();
    if (work) work = *work - std::min(*work, construction.evaluations);
    improve(problem, budget, options, construction.starts, work, incumbent);
  }
  result.bounds = incumbent.bounds();
  result.reason = PlanResult::Reason::kPlanned;
  result.limit = reached_limit(budget, incumbent.is_optimal());
  result.plan =
      make_plan(problem, incumbent.schedule(), result.bounds, provenance_of(problem, budget, options, incumbent));
  return result;
}

}  // namespace opweave
