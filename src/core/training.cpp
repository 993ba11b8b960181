#include "opweave/training.h"

#include <fmt/format.h>

#include <cmath>

#include "opweave/error.h"

namespace opweave {
namespace {

void require_factor(double value, const char* what) {
  if (!(std::isfinite(value) && value >= 0 && value <= 1000)) {
    throw InputError(fmt::format("{} is {}, expected a number of 0 to 1000", what, value));
  }
}

}  // namespace

Bytes Training::persistent_bytes(Bytes weights) const {
  const auto scaled = [&](double factor) {
    return static_cast<std::int64_t>(std::ceil(static_cast<double>(weights.value()) * factor));
  };
  return Bytes(weights.value() + scaled(gradient_bytes_per_weight_byte) + scaled(optimizer_bytes_per_weight_byte));
}

void validate(const Training& training) {
  if (training.microbatches < 1) throw InputError("microbatches is 0, expected at least 1");
  if (training.replicas < 1 || training.replicas > training.microbatches) {
    throw InputError(fmt::format("replicas is {}, expected 1 to {} (the number of microbatches)", training.replicas,
                                 training.microbatches));
  }
  if (!training.replica_of_microbatch.empty()) {
    if (training.replica_of_microbatch.size() != training.microbatches) {
      throw InputError(fmt::format("replica_of_microbatch has {} entries, expected {} (a microbatch each)",
                                   training.replica_of_microbatch.size(), training.microbatches));
    }
    for (const std::uint32_t replica : training.replica_of_microbatch) {
      if (replica >= training.replicas) {
        throw InputError(
            fmt::format("replica_of_microbatch names replica {}, expected 0 to {}", replica, training.replicas - 1));
      }
    }
  }
  require_factor(training.gradient_bytes_per_weight_byte, "gradient bytes per weight byte");
  require_factor(training.optimizer_bytes_per_weight_byte, "optimizer bytes per weight byte");
  if (!training.reduction_stream.empty() && training.gradient_bytes_per_weight_byte == 0) {
    throw InputError(fmt::format("reduction_stream is \"{}\", but gradient_bytes_per_weight_byte is 0, expected more",
                                 training.reduction_stream));
  }
}

}  // namespace opweave
