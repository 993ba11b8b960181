/// What would change a plan's makespan: other clusters, other graphs, other durations. docs/what-if.md.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/budget.h"
#include "opweave/memory_modes.h"
#include "opweave/plan.h"
#include "opweave/planner.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

// Changed inputs. Names and ids stay, so schedules of the original problem keep their meaning.

/// Every link `factor` times as fast: bandwidth times the factor, latency divided by it, both rounded to the
/// slower side. \pre factor > 0
[[nodiscard]] Cluster with_link_speed(const Cluster& cluster, double factor);
/// The same of every link between a device and its host. \throws InputError where there is none
[[nodiscard]] Cluster with_host_link_speed(const Cluster& cluster, double factor);
/// Every capacity (of the devices, and the limit in the settings) times the factor, rounded down. \pre factor >= 0
[[nodiscard]] Problem with_memory(const Problem& problem, double factor);
/// `count` more devices like the last one, with its links, named like "gpu3 (2)". Operators that name their
/// devices never run on them.
[[nodiscard]] Cluster with_more_devices(const Cluster& cluster, std::uint32_t count);
/// The operators whose name or kind is `which`, `factor` times as fast: durations and flops divided by the
/// factor, rounded up. \throws InputError if none is. \pre factor > 0
[[nodiscard]] ComputationGraph with_faster(const ComputationGraph& graph, std::string_view which, double factor);

/// The same placement and order in a problem with the same tasks, simulated under its contention.
struct Replay {
  Duration makespan;
  bool fits_memory = true;  ///< every device keeps to its capacity
};
/// O(n log n). \throws InputError where the order cannot run, as simulate.
[[nodiscard]] Replay replay(const Problem& problem, const Schedule& schedule);

/// The schedule in a problem of the same tasks that leaves it all its devices and routes, such as one with more devices
/// or memory: the same placement and orders, everything as early as they allow. Nothing where that is not valid.
/// O(n log n), and a check.
[[nodiscard]] std::optional<Schedule> carried_over(const Problem& problem, const Schedule& schedule);

/// Makespan when durations vary: what part of the samples reaches at most how much.
struct Robustness {
  double spread = 0;  ///< each duration is multiplied by a factor uniform in [1 - spread, 1 + spread]
  std::uint32_t samples = 0;
  Duration median;
  Duration percentile95;  ///< 95 of 100 samples are at most this
  Duration worst;
};
/// Replays the placement and order with every task's duration varied on its own, `samples` times; fewer if the
/// budget ends. The same seed gives the same samples on every machine. O(samples x n log n).
/// \pre 0 <= spread <= 1
[[nodiscard]] Robustness robustness(const Problem& problem, const Schedule& schedule, double spread,
                                    std::uint32_t samples, std::uint64_t seed, const Budget& budget = {});

/// What to change, each entry alone. All lists empty: links twice as fast, memory times 1.25, one device more, twice
/// the microbatches, and the three kinds of operators that fill most of the critical path `factor` times as fast.
struct WhatIfQuestion {
  std::vector<double> link_speeds;          ///< factors above 0
  std::vector<double> memories;             ///< factors from 0
  std::vector<double> host_links;           ///< factors above 0
  std::vector<std::uint32_t> devices;       ///< so many more
  std::vector<std::uint32_t> microbatches;  ///< so many in all
  std::vector<std::string> faster;          ///< names or kinds of operators
  double factor = 2;                        ///< of `faster`
  bool replan = false;                      ///< plan each change anew
  std::optional<double> time_limit;         ///< seconds of planning for each change; neither limit: 10 s
  std::optional<std::uint64_t> work_limit;  ///< evaluations for each change
  std::uint32_t samples = 100;              ///< of each spread of durations; 0 = none
};

/// What became of one change.
struct WhatIfChange {
  std::string what;                    ///< "links 2 times as fast"
  std::optional<Duration> same_order;  ///< placement and order kept, simulated; nothing where that is not possible
  std::optional<Duration> replanned;   ///< with WhatIfQuestion::replan
  Duration bound;                      ///< no plan of the changed problem is shorter
  std::uint32_t microbatches = 1;      ///< in an iteration of the changed problem
  std::string remark;                  ///< "exceeds memory", "no plan exists", ...; may be empty

  /// Replanned, else in the same order.
  [[nodiscard]] std::optional<Duration> makespan() const { return replanned ? replanned : same_order; }
};

struct WhatIfAnswer {
  Duration makespan;               ///< as planned
  Duration bound;                  ///< no plan of the problem as it is is shorter
  std::uint32_t microbatches = 1;  ///< as planned
  std::vector<WhatIfChange> changes;
  std::vector<Robustness> robustness;  ///< for 1, 2, 5, 10 and 20 %
};
/// \param planner  seed (also of the samples), threads and on_progress of replanning; the rest is not looked at
/// \param stop     ends it early: what is known so far is returned; may be null
/// \pre plan is valid for the problem \throws InputError naming the word of the question and its value
[[nodiscard]] WhatIfAnswer what_if(const Problem& problem, const Plan& plan, const WhatIfQuestion& question,
                                   const PlannerOptions& planner, const std::atomic<bool>* stop = nullptr);
/// The same for a plan with movements. In the same order its memory modes stay as well; replanned, they are chosen
/// anew, and the plan in the same order is one of the answers. \param schedule  of movements.problem(), valid
[[nodiscard]] WhatIfAnswer what_if(const ProblemWithMovements& movements, const Schedule& schedule,
                                   const WhatIfQuestion& question, const PlannerOptions& planner,
                                   const std::atomic<bool>* stop = nullptr);
[[nodiscard]] std::string what_if_to_json(const WhatIfAnswer& answer);

}  // namespace opweave
