/// Whole problems, solved exactly where their size allows.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "exact/engine.h"
#include "exact/schedule_space.h"
#include "opweave/budget.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave::exact {

enum class ExactMethod : std::uint8_t {
  kConstraintProgram,  ///< optional intervals, solved by CP-SAT
  kDisjunctive,        ///< orders as binaries, continuous time, solved by HiGHS
  kTimeIndexed,        ///< a binary per task, mode and moment, solved by HiGHS
};
/// "cp", "mip-disjunctive", "mip-time-indexed".
[[nodiscard]] std::string_view to_string(ExactMethod method);

struct ExactOptions {
  ExactMethod method = ExactMethod::kConstraintProgram;
  std::shared_ptr<const CpEngine> engine;  ///< for constraint programs; nothing = CP-SAT
  unsigned threads = 1;
  std::uint64_t seed = 1;
  bool deterministic = false;
  std::optional<double> work;  ///< as in EngineLimits
  /// A proven lower bound, from which the constraint program may start.
  Duration known_bound = {};
  /// Asked every few milliseconds beside the budget; may be empty.
  std::function<bool()> should_stop = {};
  /// Models with more intervals (constraint program) or nonzeros (integer programs) than this are not built.
  std::size_t most_intervals = 200'000;
  std::size_t most_nonzeros = 5'000'000;
  /// Integer programs whose horizon would have more ticks are rounded.
  std::int64_t most_ticks = kMostUnits;
};

/// What came out.
struct ExactAnswer {
  enum class Status : std::uint8_t {
    kOptimal,      ///< `schedule` is best
    kFeasible,     ///< `schedule` is the best known; a limit was reached
    kInfeasible,   ///< no valid schedule exists
    kUnknown,      ///< a limit was reached without a schedule
    kTooLarge,     ///< the model was not built
    kUnavailable,  ///< no solver
    kFailed,       ///< the solver broke down or answered nonsense
  };
  Status status = Status::kUnknown;
  std::optional<Schedule> schedule;  ///< a claim until `check` has seen it
  Duration bound;                    ///< no valid schedule is shorter; as good as the solver's word
  std::string message;
  bool abandoned = false;  ///< the solver ignored its limit and was left behind
};
[[nodiscard]] std::string_view to_string(ExactAnswer::Status status);

/// Called with each better schedule from the thread that called.
using OnSchedule = std::function<void(const Schedule&)>;

/// Solves a problem for the least makespan until it is solved or the budget ends. Integer programs whose numbers are
/// too large for solvers, or a time-indexed one that would be too large a model, are rounded down: the bound holds, and
/// schedules are what the solver's orders give with exact times.
/// \param warm_start  a valid schedule to begin with and to beat, or nullptr. The answer is never longer.
[[nodiscard]] ExactAnswer solve_exactly(const Problem& problem, const Schedule* warm_start, const Budget& budget,
                                        const ExactOptions& options = {}, const OnSchedule& on_schedule = {});

/// The integer program of a problem, for other solvers. The ending of the path chooses the format: .mps or .lp.
/// \return why it was not written; empty if it was
[[nodiscard]] std::string write_integer_program(const Problem& problem, const Schedule* upper_bound,
                                                const std::string& path, const ExactOptions& options);

}  // namespace opweave::exact
