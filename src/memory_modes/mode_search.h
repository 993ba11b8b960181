/// The search over memory modes of problems with too many choices to plan them all.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/random.h"
#include "memory_modes/levers.h"
#include "memory_modes/mode_incumbent.h"
#include "planner/slice.h"

namespace opweave {

/// Finds better choices of modes, by unit and microbatch, and offers their plans (docs/memory-modes.md, "Search").
class ModeSearch {
 public:
  ModeSearch(const Problem& problem, const Budget& budget, const PlannerOptions& options, const ModeOptions& modes,
             ModeIncumbent& incumbent);

  /// Comes back when the budget has ended or the incumbent is optimal.
  void run();

 private:
  /// By unit and microbatch: 0 = keep, else one more than the lever.
  using State = std::vector<std::uint32_t>;
  /// The first units have a mode, in all microbatches, and those behind them another: of each place, or of each stage.
  struct Share {
    MemoryMode mode;
    double of_units;
    bool by_stage;
    MemoryMode then = MemoryMode::kKeep;
    double of_units_then = 0;
  };
  /// A plan of a state.
  struct Candidate {
    State state;
    ProblemWithMovements derived;
    Schedule schedule;
    Duration makespan;
  };

  void order_alone();
  [[nodiscard]] std::vector<Share> shares() const;
  void try_shares(std::vector<Candidate>& found);
  void try_published(std::vector<Candidate>& found);
  void try_plenty(std::vector<Candidate>& found);
  void run_rounds(std::vector<Candidate>& found);
  /// Keeps the best few, the shortest first.
  static void add(std::vector<Candidate>& found, Candidate candidate);
  void improve_best();
  void change_modes();
  [[nodiscard]] State kept_where_it_fits(const Candidate& candidate) const;
  [[nodiscard]] State changed(State state, Random& random) const;

  [[nodiscard]] MemoryChoice choice_of(const State& state) const;
  [[nodiscard]] std::vector<MemoryMode> modes_of_units() const;
  [[nodiscard]] State state_of(const Share& share) const;
  /// The first units of every stage have the mode, in all microbatches.
  [[nodiscard]] State first_of_stages(MemoryMode mode, std::uint32_t count) const;
  /// The way of a unit that gives most memory back in a mode; 0 where it has none.
  [[nodiscard]] std::uint32_t way_of(std::size_t unit, MemoryMode mode) const;
  void give(State& state, std::size_t unit, MemoryMode mode) const;
  /// What the planner makes of a state, offered; nothing where it finds no plan.
  [[nodiscard]] std::optional<Candidate> planned(const State& state, const Slice& slice);
  [[nodiscard]] std::optional<Candidate> published(State state, const Budget& budget);
  [[nodiscard]] std::optional<Candidate> carried(const Candidate& from, State state, std::uint64_t seed,
                                                 const Slice& slice) const;
  /// The candidate of a state, and of a schedule to begin with.
  [[nodiscard]] Candidate in_better_order(State state, ProblemWithMovements derived, const Schedule& begin,
                                          std::uint64_t seed, const Slice& slice) const;
  void offer(const Candidate& candidate, const char* method);
  /// The next part of the time and work, as a share of all of it. Who takes longer takes from those behind.
  [[nodiscard]] Slice next(double of_all);
  /// By the clock, more than this share of it has gone.
  [[nodiscard]] bool is_behind(double of_all) const;
  [[nodiscard]] static Budget budget_of(const Slice& slice);
  [[nodiscard]] bool is_over() const { return incumbent_.is_optimal() || budget_.expired(); }

  const Problem& problem_;
  const Budget& budget_;
  const PlannerOptions& options_;
  const bool is_uniform_;
  ModeIncumbent& incumbent_;
  const Problem unreduced_;  ///< the problem whose gradients are summed in no time
  const bool reduces_;       ///< else that is all that there is
  const std::vector<UnitLevers> units_;
  const std::uint32_t microbatches_;
  double spent_ = 0;  ///< share of the time and work that next() has given
  State state_;       ///< of the incumbent; a warm start keeps everything
  Random random_;
};

}  // namespace opweave
