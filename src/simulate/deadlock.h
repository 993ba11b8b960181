/// Why a simulation stopped before everything ran.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "simulate/joint_runs.h"

namespace opweave::simulation {

/// Where a simulation came to rest.
struct Deadlock {
  const Problem& problem;
  const JointRuns& runs;
  const std::vector<bool>& ended;                ///< by run
  const std::vector<std::uint32_t>& next_index;  ///< per queue: position of the first run that has not started
  /// Whether the message with a value that is made has not had its turn at a device.
  std::function<bool(ValueId value, DeviceId device)> waits_for_turn;
};

/// Follows from the first run that did not start what each one waits for, until a run comes back
/// or a transfer has no route: "...", one line. \pre some run has not ended.
[[nodiscard]] std::string explain(const Deadlock& deadlock);

}  // namespace opweave::simulation
