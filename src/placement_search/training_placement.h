/// Placement of training steps: where each layer lies, by moves that a quick dispatch values.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/random.h"
#include "list_scheduling/placed_problem.h"
#include "opweave/budget.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"
#include "placement_search/placement_moves.h"
#include "placement_search/step_dispatch.h"
#include "placement_search/step_model.h"

namespace opweave {

/// Simulated annealing over placements of a step of several microbatches, together with how the microbatches are let in
/// (docs/placement-search.md). It begins from given placements and from cuts by the speed of the devices; several go
/// side by side, of which the worse half is given up again and again. What a placement is worth is what StepDispatch
/// says; the best are then scheduled. Bundles that lie on gangs, or apart, stay where they are.
class TrainingPlacement {
 public:
  /// Several microbatches of every replica, a bundle with a choice, and not too much to value.
  [[nodiscard]] static bool applies_to(const Problem& problem);

  /// \pre applies_to(problem); at least one start, each a valid mode per task, the best first. Bundles that lie on
  /// gangs in the first start lie there always. \param stands_for  microbatches of the step that the problem is a short
  /// one of: so many count, where placements are
  ///   valued; nothing = as many as it has
  TrainingPlacement(const Problem& problem, const std::vector<std::vector<ModeIndex>>& starts, std::uint64_t seed,
                    std::optional<std::uint32_t> stands_for = {});

  /// What a search may take, or took.
  struct Effort {
    std::uint64_t dispatched = UINT64_MAX;  ///< placements valued
    std::uint64_t scheduled = UINT64_MAX;   ///< list schedules
  };
  /// A whole step in one of the placements found: a claim.
  struct Found {
    Schedule schedule;
    Duration makespan;
  };
  /// Values placements until the budget or the effort ends, then schedules the best: shortest first, each with another
  /// placement. Called again it goes on from the best so far. Without a deadline the result
  /// depends on problem, starts, seed and efforts alone.
  [[nodiscard]] std::vector<Found> search(const Budget& budget, const Effort& most);
  /// Of the last search.
  [[nodiscard]] const Effort& effort() const { return effort_; }
  /// The last search valued as many placements as pay: another one would find hardly any better.
  [[nodiscard]] bool is_saturated() const { return effort_.dispatched >= paying_dispatches(); }

 private:
  struct State {
    std::vector<std::size_t> home;
    StepWay way;
    std::int64_t length = StepModel::kNever;
  };
  /// One of those that are annealed side by side.
  struct Walk {
    State current;
    State best;
  };

  [[nodiscard]] std::uint64_t paying_dispatches() const;
  [[nodiscard]] bool is_over() const { return budget_->expired() || effort_.dispatched >= most_.dispatched; }
  /// Share of the search that is done, 0 to 1.
  [[nodiscard]] double done() const;
  /// The length, if it is at most `limit`.
  bool value(State& state, std::int64_t limit);
  void scan_ways(State& state, std::size_t ways, std::int64_t limit);
  void begin();
  void walk(Walk& walk, double until);
  bool change_way(StepWay& way);
  void anneal();
  void rank_cuts(const Budget& budget);
  [[nodiscard]] std::vector<State> candidates();
  [[nodiscard]] std::optional<std::vector<std::int64_t>> scheduled(State& state, const std::vector<ModeIndex>& modes,
                                                                   const Budget& budget);
  [[nodiscard]] std::optional<std::vector<std::int64_t>> schedule_of(const PlacedProblem& placed, const State& state,
                                                                     const Budget& budget);
  [[nodiscard]] std::optional<std::vector<std::int64_t>> tune(State& state, const std::vector<ModeIndex>& modes,
                                                              const Budget& budget);

  const Problem& problem_;
  const Problem trial_;
  const StepModel model_;
  const PlacementMoves moves_;
  StepDispatch dispatch_;
  std::vector<std::vector<std::size_t>> starts_;
  std::uint32_t widest_;
  Random random_;
  std::vector<State> pool_;  ///< the best of different placement, shortest first
  std::vector<State> cuts_;  ///< the best of those that the search began from, but no starts
  Effort effort_{0, 0};
  Effort most_;
  const Budget* budget_ = nullptr;
  double seconds_ = 0;
  double began_ = 0;
  double longest_schedule_ = 0;  ///< seconds, of a trial
};

}  // namespace opweave
