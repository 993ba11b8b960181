#include "planner/minimise_in_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "opweave/bounds.h"
#include "opweave/error.h"
#include "planner/block_problem.h"
#include "planner/incumbent.h"

namespace opweave {
namespace {

/// Share of the time for the orders within pieces, and for bounds where those of the search say too much.
constexpr double kWithinPiecesShare = 0.05;
constexpr double kBlockBoundShare = 0.1;

/// Bounds of the problem of the pieces, named as such.
std::vector<LowerBound> of_pieces(std::vector<LowerBound> bounds) {
  for (LowerBound& bound : bounds) bound.name += " (blocks)";
  return bounds;
}

/// The search speaks of pieces as operators; who watches gets schedules of the whole, and no bound that is not one of
/// all schedules in pieces.
PlannerOptions options_for(const Problem& problem, const BlockProblem& blocks, const PlannerOptions& options) {
  PlannerOptions result = options;
  result.warm_start.reset();
  if (options.warm_start) {
    Schedule start = blocks.contract(*options.warm_start);
    if (is_valid(blocks.problem(), start)) result.warm_start = std::move(start);
  }
  if (options.on_progress) {
    result.on_progress = [&problem, &blocks, show = options.on_progress](Progress progress) {
      std::optional<Schedule> whole;
      if (progress.schedule != nullptr) whole = blocks.expand(*progress.schedule);
      progress.schedule = whole && is_valid(problem, *whole) ? &*whole : nullptr;
      progress.bounds = of_pieces(std::move(progress.bounds));
      if (!blocks.is_exact()) {
        progress.bounds.clear();
        progress.lower_bound = Duration();
      }
      show(progress);
    };
  }
  return result;
}

/// Bounds that hold for all schedules in pieces though memory or orders within pieces are not exact.
std::vector<LowerBound> honest_bounds(const Problem& problem, const BlockProblem& blocks, const Budget& budget) {
  std::vector<LowerBound> bounds = of_pieces(lower_bounds(blocks.relaxed(), budget.share(0.5)));
  for (LowerBound& bound : lower_bounds(problem, budget)) bounds.push_back(std::move(bound));
  std::ranges::stable_sort(bounds, std::greater<>(), &LowerBound::value);
  return bounds;
}

}  // namespace

Finding minimise_in_blocks(const Problem& problem, const Budget& budget, const PlannerOptions& options,
                           std::optional<Duration> target) {
  const BlockProblem blocks(problem, budget.share(kWithinPiecesShare));
  const bool is_exact = blocks.is_exact();
  const double kept = is_exact ? 0 : kBlockBoundShare * std::max(0.0, budget.remaining().value_or(0));
  Finding finding =
      minimise_makespan(blocks.problem(), budget.keeping(kept), options_for(problem, blocks, options), target);
  if (finding.reason == PlanResult::Reason::kInfeasible && !is_exact) {
    // Of the problem of the pieces this is proven; schedules in pieces with less memory may exist.
    if (const auto proofs = infeasibility_proofs(problem); !proofs.empty()) {
      finding.detail = proofs.front();
    } else {
      finding.reason = PlanResult::Reason::kNotFound;
      finding.detail = fmt::format("in pieces by {}, as their memory is counted: {}",
                                   to_string(problem.settings().blocks), finding.detail);
    }
  }
  if (finding.schedule) {
    finding.schedule = blocks.expand(*finding.schedule);
    if (!is_valid(problem, *finding.schedule)) throw InternalError("check rejects a plan of pieces taken apart");
  }
  if (options.warm_start &&
      (!finding.schedule || options.warm_start->makespan(problem) < finding.schedule->makespan(problem))) {
    finding.schedule = options.warm_start;
    finding.method = kWarmStart;
    finding.reason = PlanResult::Reason::kPlanned;
  }
  finding.bounds = is_exact ? of_pieces(std::move(finding.bounds)) : honest_bounds(problem, blocks, budget);
  finding.is_optimal = finding.schedule && !finding.bounds.empty() &&
                       finding.schedule->makespan(problem) == finding.bounds.front().value;
  return finding;
}

}  // namespace opweave
