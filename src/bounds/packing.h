/// How many groups of tasks fit on devices: whole groups, with their time and the memory of their parameters.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "bounds/bound_context.h"

namespace opweave::bounds {

/// Groups alike: each occupies one device for a time that depends on the kind of device, and memory there.
struct PackedClass {
  static constexpr Nanoseconds kNowhere = std::numeric_limits<Nanoseconds>::max();

  std::int64_t count = 0;
  std::int64_t bytes = 0;         ///< of parameters, from the start of the plan to its end
  std::int64_t need = 0;          ///< beside all parameters, while its most demanding task runs
  Nanoseconds head = 0;           ///< no task of it starts earlier
  Nanoseconds tail = 0;           ///< the plan ends at least this much after any task of it
  std::vector<Nanoseconds> time;  ///< by kind of device; kNowhere where it is not allowed
};

/// Devices alike: of one type, capacity and use.
struct PackedDevices {
  std::int64_t count = 0;
  std::optional<std::int64_t> capacity;  ///< bytes
  /// The least time that the 1st, 2nd, ... of them to begin is idle at both ends (chain_entries); empty = not known.
  std::vector<Nanoseconds> entries = {};
};

/// The groups that run on single devices, as far as one stream and the memory go.
struct PackingProblem {
  std::vector<PackedDevices> kinds;
  std::vector<PackedClass> classes;
};

/// Nothing if no group is left, or there are too many different ones to look at.
[[nodiscard]] std::optional<PackingProblem> packing_problem(const Relaxation& relaxation, const Ends& ends,
                                                            StreamId stream);

/// Whether the groups may fit when each device has the time from its least head to the least tail before `makespan`, or
/// what its entry leaves of it, and its memory. False is a proof that they do not; true is not a proof of anything.
/// \param work  steps that may be taken before the answer is true; the same for every run
[[nodiscard]] bool may_fit(const PackingProblem& problem, Nanoseconds makespan, std::int64_t work,
                           const Budget& budget);

/// A sentence if the groups do not fit into the memory of the devices, however long the plan.
[[nodiscard]] std::optional<std::string> packing_proof(const Relaxation& relaxation);

}  // namespace opweave::bounds
