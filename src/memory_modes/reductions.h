/// Gradients of replicas, summed over the devices that keep them.
#pragma once

#include <vector>

#include "opweave/problem.h"

namespace opweave {

/// One all_reduce: after the last W and B of all replicas that add to the gradients of a parameter, before their O.
struct Reduction {
  ParameterId parameter;
  std::vector<DeviceId> devices;  ///< all that keep the parameter, ascending; at least two
  Duration duration;
  std::vector<TaskId> updates;     ///< W and B that add to the gradients
  std::vector<TaskId> optimizers;  ///< O that read the parameter, or no parameter at all
};

/// The reductions of an iteration, by parameter; none where the settings take gradients to be summed in no time, or
/// where all replicas of a parameter are on one device. O(tasks + parameters x O)
/// \throws InputError where a replica of a parameter may live in several places, a device lacks the stream, devices are
///   not joined, or transfers contend: an all_reduce would have to take turns with them.
[[nodiscard]] std::vector<Reduction> reductions_of(const Problem& problem);

/// The problem whose gradients are summed in no time; itself where they are.
[[nodiscard]] Problem without_reductions(const Problem& problem);

}  // namespace opweave
