/// The one entry point: from a problem to a plan.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/budget.h"
#include "opweave/objective.h"
#include "opweave/plan.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// State of a running planner, for progress lines.
struct Progress {
  double seconds = 0;
  std::optional<Duration> makespan;
  Duration lower_bound;
  std::string method;                   ///< what is at work, or what found the incumbent
  const Schedule* schedule = nullptr;   ///< the incumbent, as long as the call lasts; null where it is not told
  std::vector<LowerBound> bounds = {};  ///< on the makespan, largest first
};

/// What is put to work.
enum class Method : std::uint8_t {
  kAuto,            ///< everything: construction, search and solvers together
  kHeuristic,       ///< construction and search; no solver
  kMipDisjunctive,  ///< the complete mixed-integer program alone, orders as binaries, solved by HiGHS
  kMipTimeIndexed,  ///< the complete mixed-integer program alone, a binary per task, mode and moment, solved by HiGHS
  kCp,              ///< the complete constraint program alone, solved by CP-SAT
};
/// "auto", "heuristic", "mip-disjunctive", "mip-time-indexed", "cp".
[[nodiscard]] std::string_view to_string(Method method);
/// Inverse of to_string, and "mip" for kMipDisjunctive; nothing for any other text.
[[nodiscard]] std::optional<Method> method_from_string(std::string_view text);

/// More threads than this are not used.
inline constexpr unsigned kMostThreads = 256;

struct PlannerOptions {
  std::uint64_t seed = 1;
  unsigned threads = 1;
  std::function<void(const Progress&)> on_progress;  ///< called from one thread at a time; may be empty
  Method method = Method::kAuto;
  /// A valid schedule of the problem: the plan is never worse than it.
  std::optional<Schedule> warm_start = {};
  /// In order of importance: a plan is better if it is in the first objective in which two plans differ.
  std::vector<Objective> objectives = {Objective::kMakespan};
  /// Plans must end by then.
  std::optional<Duration> deadline = {};
};

/// What a planner returns: a plan, or the reason why there is none.
struct PlanResult {
  enum class Reason : std::uint8_t {
    kPlanned,     ///< `plan` is there
    kInfeasible,  ///< proven: no valid plan exists; `detail` says why
    kNotFound,    ///< none was found within the limits
  };
  Reason reason = Reason::kNotFound;
  std::optional<Plan> plan;
  std::string limit;               ///< what ended the search: "time 60 s", "work 1000", "interrupt", "memory", or empty
  std::string detail;              ///< why there is no plan, or what kept a method from working
  std::vector<LowerBound> bounds;  ///< on the makespan; known even where there is no plan
};

/// Plans `problem`. Anytime: the first valid plan exists before improvement starts, only better plans replace it, and
/// the best one is returned when the budget ends, or memory. Whatever a search is doing then, the call returns: one
/// that does not end is left behind in a thread that ends by itself and calls nobody. Every plan has passed `check`.
/// The same problem, options and work limit give the same plan whatever `threads` is; a larger work limit never gives a
/// longer one (where the makespan is the objective). \throws InputError if the warm start is no valid schedule of the
/// problem, no objective is given or one twice \throws InternalError if `check` rejects what was about to be returned.
[[nodiscard]] PlanResult plan(const Problem& problem, const Budget& budget, const PlannerOptions& options = {});

}  // namespace opweave
