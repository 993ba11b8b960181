/// Placements of consecutive bundles, by what each device can do.
#pragma once

#include <vector>

#include "placement_search/step_model.h"

namespace opweave {

/// The row of bundles cut into consecutive parts, one round over all devices after the other, such that the largest
/// load of a device is small where each bundle takes what it takes on the device that gets it, and parameters fit: with
/// the fastest or the slowest device first, the largest memory first, in the order of the cluster, and in turns; rounds
/// go upwards, up and down, or upwards but the last. Replicas go one way and the other over all devices, or each has a
/// share of them. Distinct device lists; bundles that stay keep StepModel::kStays. Empty if nothing fits.
/// O(bundles log(work)) each.
[[nodiscard]] std::vector<std::vector<std::size_t>> chain_cuts(const Problem& problem, const StepModel& model);

}  // namespace opweave
