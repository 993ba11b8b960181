/// What the search for the least makespan is asked where blocks run in pieces, and what its answer means.
#pragma once

#include "planner/block_problem.h"
#include "planner/finding.h"

namespace opweave {

/// The problem of the pieces (docs/blocks.md) with budget and options for its search; what that finds becomes a
/// schedule of the whole, with bounds that hold for all schedules in pieces: those that need it say so in their names.
class BlockQuestion {
 public:
  /// \pre  the settings of the problem ask for blocks; all three outlive the question
  /// \throws InputError as BlockProblem
  BlockQuestion(const Problem& problem, const Budget& budget, const PlannerOptions& options);
  BlockQuestion(const BlockQuestion&) = delete;
  BlockQuestion& operator=(const BlockQuestion&) = delete;

  [[nodiscard]] const Problem& problem() const { return blocks_.problem(); }
  [[nodiscard]] const Budget& budget() const { return own_budget_; }
  /// The search speaks of pieces as operators; who watches gets schedules of the whole, and no bound that is not one of
  /// all schedules in pieces.
  [[nodiscard]] const PlannerOptions& options() const { return own_options_; }

  /// \param finding  of the search on problem()
  [[nodiscard]] Finding answer(Finding finding) const;

 private:
  const Problem& whole_;
  const Budget& budget_;
  const PlannerOptions& options_;
  const BlockProblem blocks_;
  const Budget own_budget_;
  PlannerOptions own_options_;
};

/// Bounds on all schedules in pieces, best first: those that need them say so in their names. \pre  the settings of the
/// problem ask for blocks \throws InputError as BlockProblem
[[nodiscard]] std::vector<LowerBound> bounds_in_blocks(const Problem& problem);

}  // namespace opweave
