/// Names and versions of our file formats (docs/formats.md).
#pragma once

#include <cstdint>
#include <string_view>

namespace opweave::io {

inline constexpr std::string_view kGraphFormat = "opweave.graph";
inline constexpr std::string_view kClusterFormat = "opweave.cluster";
inline constexpr std::string_view kPlanFormat = "opweave.plan";
/// Version of each of the three.
inline constexpr std::uint32_t kFormatVersion = 1;

}  // namespace opweave::io
