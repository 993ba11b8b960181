/// What an iteration computes, against what its devices could.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "opweave/problem.h"

namespace opweave {

struct Work {
  double flops = 0;   ///< of all tasks but those of the optimizer, one iteration
  std::string dtype;  ///< of most of them; empty without any
  /// Of all devices together in that dtype; none where a device has no such rate.
  std::optional<double> peak_flops_per_s;
  std::int64_t given = 0;            ///< operators with a duration or modes
  std::int64_t from_peak_rates = 0;  ///< those that the rates of the devices time
};

[[nodiscard]] Work work_of(const Problem& problem);

}  // namespace opweave
