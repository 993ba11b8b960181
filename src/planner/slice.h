/// What a method may spend before it comes back: time, or evaluations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>

#include "opweave/budget.h"
#include "opweave/problem.h"

namespace opweave {

/// Searches at once under a work limit: fixed, because the result must not depend on the threads at hand.
inline constexpr std::size_t kRepeatableSearches = 2;

/// By the clock a slice ends with its budget. Under a work limit it ends with its evaluations, and what is done in it
/// depends neither on the clock nor on the number of threads: it is repeatable.
struct Slice {
  Budget budget;                             ///< deadline and stop flag; under a work limit there may be no deadline
  std::optional<std::uint64_t> evaluations;  ///< nothing = by the clock
  unsigned threads = 1;                      ///< at hand

  [[nodiscard]] bool is_repeatable() const { return evaluations.has_value(); }
  [[nodiscard]] std::uint64_t most_evaluations() const {
    return evaluations.value_or(std::numeric_limits<std::uint64_t>::max());
  }
  /// CP-SAT's deterministic seconds that take about as long as the evaluations of a problem; nothing by the clock.
  [[nodiscard]] std::optional<double> solver_work(const Problem& problem) const;
  /// Calls of the solver among which that is shared out: few where each would have hardly any.
  [[nodiscard]] std::uint32_t solver_calls(const Problem& problem) const;
  /// Searches to run at once: a thread each by the clock, and always as many where it must be repeatable.
  [[nodiscard]] std::size_t parallel_searches() const;
  /// This share of what is left of the time, or of the evaluations.
  [[nodiscard]] Slice share(double fraction) const;
  /// The same, and an end as Budget::until().
  [[nodiscard]] Slice until(const std::atomic<bool>* flag) const;
  /// Calls job(i, its slice) for i = 0, ..., count - 1 on the threads at hand. Each has an equal part of the
  /// evaluations; jobs that share a thread share its time. Comes back when all have ended.
  void each(std::size_t count, const std::function<void(std::size_t, const Slice&)>& job) const;
};

}  // namespace opweave
