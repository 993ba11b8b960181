/// Whether a problem has any valid schedule at all, however long, and the best by what does not depend on time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "exact/engine.h"
#include "exact/order_graph.h"
#include "opweave/budget.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave::exact {

/// What to minimise.
enum class UntimedGoal : std::uint8_t {
  kNothing,        ///< any schedule will do
  kCommunication,  ///< bytes that are sent
  kDevices,        ///< devices that run something
};

struct AnyScheduleOptions {
  UntimedGoal goal = UntimedGoal::kNothing;
  std::optional<Duration> deadline;        ///< the schedule must end by then
  std::shared_ptr<const CpEngine> engine;  ///< nothing = CP-SAT
  std::optional<double> work;              ///< as in EngineLimits
  std::uint64_t seed = 1;
  /// Models with more intervals than this are not built.
  std::size_t most_intervals = 200'000;
};

/// What the solver says.
struct AnySchedule {
  enum class Verdict : std::uint8_t {
    kExists,     ///< `schedule` is one
    kNone,       ///< proven: there is none
    kUndecided,  ///< a limit was reached, or there is no solver; `message` says which
  };
  Verdict verdict = Verdict::kUndecided;
  std::optional<Schedule> schedule;   ///< a claim until `check` has seen it
  std::optional<std::int64_t> bound;  ///< on the goal: no valid schedule that keeps the deadline is below
  std::string message;
  bool abandoned = false;  ///< the solver ignored its limit and was left behind
};

/// Asks the constraint program of the problem for any solution, or the best one by the goal. Without a deadline it does
/// not matter how long things take, only whether they take time at all (docs/feasibility.md), so all durations are one
/// tick: numbers stay small whatever the units. On one thread: the same answer on every run, unless the budget's clock
/// ends it.
[[nodiscard]] AnySchedule find_any_schedule(const Problem& problem, const Budget& budget,
                                            const AnyScheduleOptions& options = {});

/// Choices (choice_count) of a problem that is small: the solver decides it whatever the work limit says.
inline constexpr std::size_t kMostChoicesOfSmall = 600;
/// The same question if the problem is small; else the answer is that it is not. Of a budget without a clock the solver
/// gets a fixed time of its own counting, so that the answer is the same on every run.
[[nodiscard]] AnySchedule ask_if_small(const Problem& problem, const Budget& budget, AnyScheduleOptions options);

/// Everything one after the other, with its real duration, in the order of a schedule whose times are steps
/// (TimeUnit::counts_steps): by start, what takes no time first. Holds no more at any moment than that schedule does.
[[nodiscard]] Schedule one_after_the_other(const Problem& problem, const RoughSchedule& steps);

}  // namespace opweave::exact
