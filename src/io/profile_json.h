/// Calibration profiles as parts of documents.
#pragma once

#include <string>

#include "io/json_reader.h"
#include "opweave/calibration.h"

namespace opweave::io {

/// Which keys of a stack's kernels must be there.
enum class Kernels : std::uint8_t {
  kSomeStated,  ///< of measured steps: the others have their defaults
  kAllStated,   ///< of a profile: it means the same whatever the defaults of a later version are
};
/// Facts about a stack's kernels. \throws InputError naming place and value
[[nodiscard]] CalibrationProfile read_kernels(const JsonValue& value, Kernels stated);

/// A profile, with or without format and version. \throws InputError naming place and value
[[nodiscard]] FittedProfile read_profile(const JsonValue& value);

}  // namespace opweave::io
