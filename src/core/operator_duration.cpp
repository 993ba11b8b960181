#include <algorithm>
#include <cmath>

#include "opweave/cost.h"

namespace opweave {

std::optional<double> roofline_ns(const Operator& op, const DeviceType& type) {
  if (!op.flops && !op.bytes_accessed) return std::nullopt;
  double seconds = 0;
  if (op.flops && *op.flops > 0) {
    const auto rate = type.peak_flops_per_s.find(op.dtype);
    if (rate == type.peak_flops_per_s.end()) return std::nullopt;
    seconds = *op.flops / rate->second;
  }
  if (op.bytes_accessed && *op.bytes_accessed > 0) {
    if (!type.memory_bandwidth_bytes_per_s) return std::nullopt;
    seconds = std::max(seconds, *op.bytes_accessed / *type.memory_bandwidth_bytes_per_s);
  }
  return std::ceil(seconds * 1e9);
}

std::optional<Duration> operator_duration(const Operator& op, const DeviceType* type) {
  std::optional<Duration> anywhere;
  for (const MeasuredDuration& measured : op.durations) {
    if (measured.device_type.empty()) {
      anywhere = measured.duration;
    } else if (type != nullptr && measured.device_type == type->name) {
      return measured.duration;
    }
  }
  if (anywhere) return anywhere;
  if (type == nullptr) return std::nullopt;
  const std::optional<double> nanoseconds = roofline_ns(op, *type);
  if (!nanoseconds || *nanoseconds > static_cast<double>(kMaxInputValue)) return std::nullopt;
  return Duration(static_cast<std::int64_t>(*nanoseconds));
}

}  // namespace opweave
