/// Placement of training steps: where each layer lies, by moves that schedules value.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/random.h"
#include "list_scheduling/in_flight_window.h"
#include "opweave/budget.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"
#include "placement/placement_units.h"

namespace opweave {

/// Simulated annealing over placements of a step of several microbatches, together with how the microbatches are let in
/// (docs/placement-search.md). What a placement is worth is the length of a schedule of a few microbatches, plus the
/// busiest stream for each of the others. Units that lie on gangs, or apart, stay where they are.
class TrainingPlacement {
 public:
  /// Several microbatches, a unit with a choice, and not too much to value.
  [[nodiscard]] static bool applies_to(const Problem& problem);

  /// Begins from a placement. \pre applies_to(problem); modes is a valid mode per task.
  TrainingPlacement(const Problem& problem, const std::vector<ModeIndex>& modes, std::uint64_t seed);

  /// Values neighbours until the budget or their number ends, cooling down meanwhile; ends early where nothing is
  /// gained for long. With a number and no deadline the result depends on problem, start, seed and number alone.
  /// \return how many were valued
  std::uint64_t improve(const Budget& budget, std::uint64_t most);

  /// True if a better placement than the first has been found.
  [[nodiscard]] bool has_improved() const { return best_ && first_ && best_->value < *first_; }
  /// A schedule of the whole step with the best placement so far; a claim. Nothing where none was found.
  [[nodiscard]] std::optional<Schedule> schedule(const Budget& budget) const;

 private:
  static constexpr std::size_t kStays = SIZE_MAX;

  struct State {
    std::vector<std::size_t> home;  ///< device of each unit; kStays where it may not move
    InFlightWindow window;
    std::size_t rule = 0;
    std::int64_t value = 0;
  };
  /// An operator of the first microbatch of a replica, in topological order.
  struct Step {
    std::size_t unit = 0;
    std::uint32_t streams = 0;
    std::vector<std::size_t> after;       ///< positions of the steps that it waits for
    std::vector<std::int64_t> durations;  ///< by device; negative where it may not run
    std::vector<std::size_t> fixed_on;    ///< devices, where its unit stays
    std::int64_t fixed_duration = 0;
  };
  struct Unit {
    PlacementUnit content;
    std::size_t replica = 0;
    bool follows = false;  ///< the unit before it is of the same replica
  };

  [[nodiscard]] bool may_run(std::size_t unit, std::size_t device) const;
  [[nodiscard]] std::vector<std::int64_t> loads(const std::vector<std::size_t>& home) const;
  /// What the step takes at least by one stream alone: what comes before its first work, its work, and what comes after
  /// its last (the bound "one-machine", with what lies before and after a microbatch alone).
  [[nodiscard]] std::int64_t estimate(const std::vector<std::size_t>& home) const;
  void note_steps();
  /// Modes of all tasks; nothing if parameters do not fit or groups must be apart.
  [[nodiscard]] std::optional<std::vector<ModeIndex>> modes(const std::vector<std::size_t>& home) const;
  [[nodiscard]] std::optional<std::int64_t> value(const State& state, const Budget& budget) const;
  [[nodiscard]] std::size_t random_unit();
  /// The most promising of a few random changes of the current state.
  [[nodiscard]] std::optional<State> neighbour();
  // Each of these changes the state; false if it comes to nothing.
  bool move(State& state);
  bool move_beside_neighbour(State& state);
  bool shift_parts(State& state);
  bool swap_units(State& state);
  bool move_away(State& state);
  bool swap_devices(State& state);
  bool change_window(State& state);

  const Problem& problem_;
  Problem trial_;
  std::size_t devices_;
  std::size_t streams_;
  std::vector<ModeIndex> first_modes_;
  std::vector<Unit> units_;
  std::vector<std::size_t> movable_;
  std::vector<std::int64_t> work_;  ///< by unit, device, stream; negative where the unit may not run
  std::vector<std::int64_t> fixed_load_;
  std::vector<std::size_t> unit_of_group_;
  std::vector<std::vector<Step>> steps_;  ///< by replica
  bool devices_differ_ = false;
  Random random_;
  std::optional<State> current_;
  std::optional<State> best_;
  std::optional<std::int64_t> first_;
};

}  // namespace opweave
