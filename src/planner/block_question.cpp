#include "planner/block_question.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "opweave/bounds.h"
#include "opweave/error.h"
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

/// Time that is kept from the search for the bounds of answer().
double kept_for_bounds(const BlockProblem& blocks, const Budget& budget) {
  return blocks.is_exact() ? 0 : kBlockBoundShare * std::max(0.0, budget.remaining().value_or(0));
}

/// Bounds that hold for all schedules in pieces, of which `pieces` is a relaxation.
std::vector<LowerBound> honest_bounds(const Problem& problem, const Problem& pieces, const Budget& budget) {
  std::vector<LowerBound> bounds = of_pieces(lower_bounds(pieces, budget.share(0.5)));
  for (LowerBound& bound : lower_bounds(problem, budget)) bounds.push_back(std::move(bound));
  std::ranges::stable_sort(bounds, std::greater<>(), &LowerBound::value);
  return bounds;
}

}  // namespace

BlockQuestion::BlockQuestion(const Problem& problem, const Budget& budget, const PlannerOptions& options)
    : whole_(problem),
      budget_(budget),
      options_(options),
      blocks_(problem, budget.share(kWithinPiecesShare)),
      own_budget_(budget.keeping(kept_for_bounds(blocks_, budget))),
      own_options_(options) {
  own_options_.warm_start.reset();
  if (options.warm_start) {
    Schedule start = blocks_.contract(*options.warm_start);
    if (is_valid(blocks_.problem(), start)) own_options_.warm_start = std::move(start);
  }
  if (!options.on_progress) return;
  own_options_.on_progress = [this](Progress progress) {
    std::optional<Schedule> whole;
    if (progress.schedule != nullptr) whole = blocks_.expand(*progress.schedule);
    progress.schedule = whole && is_valid(whole_, *whole) ? &*whole : nullptr;
    progress.bounds = of_pieces(std::move(progress.bounds));
    if (!blocks_.is_exact()) {
      progress.bounds.clear();
      progress.lower_bound = Duration();
    }
    options_.on_progress(progress);
  };
}

Finding BlockQuestion::answer(Finding finding) const {
  const bool is_exact = blocks_.is_exact();
  if (finding.reason == PlanResult::Reason::kInfeasible && !is_exact) {
    // Of the problem of the pieces this is proven; schedules in pieces with less memory may exist.
    if (const auto proofs = infeasibility_proofs(whole_); !proofs.empty()) {
      finding.detail = proofs.front();
    } else {
      finding.reason = PlanResult::Reason::kNotFound;
      finding.detail = fmt::format("in pieces by {}, as their memory is counted: {}",
                                   to_string(whole_.settings().blocks), finding.detail);
    }
  }
  if (finding.schedule) {
    finding.schedule = blocks_.expand(*finding.schedule);
    if (!is_valid(whole_, *finding.schedule)) throw InternalError("check rejects a plan of pieces taken apart");
  }
  const std::optional<Schedule>& start = options_.warm_start;
  if (start && (!finding.schedule || start->makespan(whole_) < finding.schedule->makespan(whole_))) {
    finding.schedule = start;
    finding.method = kWarmStart;
    finding.reason = PlanResult::Reason::kPlanned;
  }
  finding.bounds = is_exact ? of_pieces(std::move(finding.bounds)) : honest_bounds(whole_, blocks_.relaxed(), budget_);
  finding.is_optimal =
      finding.schedule && !finding.bounds.empty() && finding.schedule->makespan(whole_) == finding.bounds.front().value;
  return finding;
}

std::vector<LowerBound> bounds_in_blocks(const Problem& problem) {
  const Budget budget;
  const BlockProblem blocks(problem, budget);
  return honest_bounds(problem, blocks.is_exact() ? blocks.problem() : blocks.relaxed(), budget);
}

}  // namespace opweave
