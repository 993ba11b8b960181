/// Durations from device rates, for operators that nobody measured.
#pragma once

#include <optional>

#include "opweave/cluster.h"
#include "opweave/graph.h"

namespace opweave {

/// The roofline of an operator on a type of device, max(flops / peak rate of its dtype, bytes accessed / memory
/// bandwidth), rounded up to a nanosecond (Williams, Waterman, Patterson 2009); perhaps more than a Duration holds.
/// Nothing if flops and bytes are unknown, or the rate of one that is not 0.
[[nodiscard]] std::optional<double> roofline_ns(const Operator& op, const DeviceType& type);

/// Time of an operator on a type of device: the measurement for the type, else the one for every
/// device, else the roofline. Nothing if none of these is known, or the roofline is beyond kMaxInputValue.
/// \param type  nullptr for a device without a type.
[[nodiscard]] std::optional<Duration> operator_duration(const Operator& op, const DeviceType* type);

}  // namespace opweave
