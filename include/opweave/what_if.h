/// What would change a plan's makespan: other clusters, other graphs, other durations. docs/what-if.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/budget.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

// Changed inputs. Names and ids stay, so schedules of the original problem keep their meaning.

/// Every link `factor` times as fast: bandwidth times the factor, latency divided by it, both rounded to the
/// slower side. \pre factor > 0
[[nodiscard]] Cluster with_link_speed(const Cluster& cluster, double factor);
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

}  // namespace opweave
