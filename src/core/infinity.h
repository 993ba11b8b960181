/// What is larger than every number.
#pragma once

#include <limits>

namespace opweave {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace opweave
