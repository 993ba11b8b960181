/// The one entry point: from a problem to a plan.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "opweave/budget.h"
#include "opweave/plan.h"
#include "opweave/problem.h"

namespace opweave {

/// State of a running planner, for progress lines.
struct Progress {
  double seconds = 0;
  std::optional<Duration> makespan;
  Duration lower_bound;
  std::string method;  ///< what is at work, or what found the incumbent
};

struct PlannerOptions {
  std::uint64_t seed = 1;
  unsigned threads = 1;
  std::function<void(const Progress&)> on_progress;  ///< called from one thread at a time; may be empty
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
  std::string limit;  ///< the limit that ended the search: "time 60 s", "work 1000", "interrupt", or empty
  std::string detail;
  std::vector<LowerBound> bounds;  ///< known even where there is no plan
};

/// Plans `problem`. Anytime: the first valid plan exists before any improvement starts, only better
/// plans replace it, and the best one is returned when the budget ends. Every plan returned has
/// passed `check`. The same problem, seed and work limit give the same plan whatever `threads` is.
/// \throws InternalError if `check` rejects what was about to be returned.
[[nodiscard]] PlanResult plan(const Problem& problem, const Budget& budget, const PlannerOptions& options = {});

}  // namespace opweave
