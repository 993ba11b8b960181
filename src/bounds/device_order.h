/// Orders of the work of a few devices, with their memory and with the time that passes elsewhere between two of their
/// operators.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "bounds/relaxation.h"
#include "opweave/budget.h"

namespace opweave::bounds {

/// What a few devices do, as "device-order" in docs/bounds.md looks at it.
struct DeviceWork {
  /// Copy c of `from` has ended at least `delay` before copy c starts.
  struct Lag {
    Index from = 0;
    Nanoseconds delay = 0;
  };
  /// Copies run in the order of their ranks.
  struct Operator {
    Index stream = 0;
    Nanoseconds duration = 0;        ///< positive
    std::vector<Nanoseconds> heads;  ///< by rank
    std::vector<Nanoseconds> tails;  ///< by rank
    std::vector<Lag> after;          ///< from operators of as many copies
  };
  /// Copy c is held from the start of the first of its takers to the end of the last of its keepers, which are
  /// operators of as many copies on one stream.
  struct Value {
    Index stream = 0;
    std::int64_t bytes = 0;
    std::vector<Index> takers;
    std::vector<Index> keepers;
  };
  std::vector<Operator> operators;  ///< topological
  std::vector<Value> values;
  std::vector<std::int64_t> capacities;  ///< by stream: of its device
  Index streams = 1;
};

/// Asks, by dynamic programming over how many copies of each operator have begun, whether the work can be done in a
/// given time.
class DeviceOrder {
 public:
  static constexpr std::size_t kMostOperators = 96;
  static constexpr std::size_t kMostCopies = 60'000;
  static constexpr Nanoseconds kNoOrder = std::numeric_limits<Nanoseconds>::max();

  /// \pre at most kMostOperators, each with at most kMostCopies.
  explicit DeviceOrder(DeviceWork work);

  /// `limit` if the work fits into it. Else, above it, a makespan such that nothing shorter is possible: kNoOrder if
  /// memory admits no order at all. Nothing if that took more steps, or more time, than there are.
  [[nodiscard]] std::optional<Nanoseconds> least_from(Nanoseconds limit, std::size_t most_steps, const Budget& budget);
  /// Steps of the last question: ways to begin the work that it looked at, and what their counts cost besides.
  [[nodiscard]] std::size_t steps() const { return steps_; }
  /// Copies of all operators.
  [[nodiscard]] std::size_t copies() const { return copies_; }

 private:
  /// By operator: copies that have begun.
  struct Counts {
    std::array<std::uint16_t, kMostOperators> of{};
    std::uint64_t hash = 0;  ///< follows from the others

    std::uint16_t operator[](Index op) const { return of[op]; }
    void begin(Index op);
    bool operator==(const Counts& other) const { return hash == other.hash && of == other.of; }
  };
  struct CountsHash {
    std::size_t operator()(const Counts& counts) const { return static_cast<std::size_t>(counts.hash); }
  };
  /// Ways to have begun these copies, none of them as good as another in every respect. A way is a row: for each stream
  /// the moment from which it is free, then for each operator that waits, and for each of its copies that is awaited,
  /// the moment from which it may start.
  struct State {
    Counts counts;
    struct Left {
      Nanoseconds load = 0;    ///< of what has not begun
      std::size_t copies = 0;  ///< of the copies by tail, so many of the first have begun
      Nanoseconds rest = 0;    ///< least time from the stream being free to the end of the plan
    };
    std::vector<Left> left;  ///< by stream
    std::vector<Nanoseconds> rows;
  };
  /// Where a moment of the row after a step comes from.
  struct Column {
    std::optional<std::size_t> before;  ///< the same moment in the row before the step
    Nanoseconds head = 0;               ///< else this
    std::optional<Nanoseconds> delay;   ///< after the end of the step
    Nanoseconds duration = 0;           ///< of the copy that waits
    Nanoseconds tail = 0;
    Index stream = 0;
    bool is_first = false;  ///< of its operator
  };
  /// The next copy of an operator, and the state that it leads to.
  struct Step {
    Index op = 0;
    bool takes_nothing = false;
    std::optional<std::size_t> waits;  ///< column of the moment from which it may start, if that is not its head
    Nanoseconds head = 0;
    Nanoseconds tail = 0;
    std::size_t target = 0;
    std::vector<Column> columns;
  };
  /// One copy of an operator.
  struct OperatorCopy {
    Nanoseconds tail;
    Index op;
    Index rank;
  };

  [[nodiscard]] Index awaited(const Counts& counts, Index op) const;
  [[nodiscard]] std::vector<Index> all_awaited(const Counts& counts) const;
  [[nodiscard]] bool fits(const Counts& counts, Index op) const;
  [[nodiscard]] bool takes_nothing(const Counts& counts, Index op) const;
  [[nodiscard]] bool is_next(const Counts& counts, Index op) const;
  [[nodiscard]] std::vector<Column> columns(const Counts& before, const std::vector<Index>& awaited_before,
                                            const Counts& after, Index step) const;
  [[nodiscard]] std::vector<Step> next_steps(const Counts& counts, const std::vector<Index>& waiting) const;
  void find_rest(State& state, Index stream) const;
  bool follow(const State& from, std::size_t row, const Step& step, Nanoseconds start, const State& to);
  bool is_late(Nanoseconds makespan);

  DeviceWork work_;
  std::vector<bool> waits_;                         ///< by operator: for other streams, or for time to pass elsewhere
  std::vector<std::vector<OperatorCopy>> by_tail_;  ///< by stream, longest tail first
  std::size_t copies_ = 0;                          ///< of all operators
  std::vector<Nanoseconds> row_;
  Nanoseconds limit_ = 0;
  Nanoseconds least_ = 0;
  std::size_t steps_ = 0;
};

}  // namespace opweave::bounds
