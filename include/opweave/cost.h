/// Durations from device rates, for operators that nobody measured.
#pragma once

#include <optional>

#include "opweave/cluster.h"
#include "opweave/graph.h"

namespace opweave {

/// Time of an operator on a type of device: the measurement for the type, else the one for every
/// device, else the roofline max(flops / peak rate of its dtype, bytes accessed / memory bandwidth),
/// rounded up (Williams, Waterman, Patterson 2009). Nothing if none of these is known.
/// \param type  nullptr for a device without a type.
[[nodiscard]] std::optional<Duration> operator_duration(const Operator& op, const DeviceType* type);

}  // namespace opweave
