#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "check/rules.h"

namespace opweave::checking {
namespace {

/// Time of an operator on a type of device: the measurement for the type, else the one for every
/// device, else the roofline max(flops / rate, bytes / bandwidth) in seconds, in double precision,
/// times 10^9, rounded up.
std::optional<Duration> duration_on(const Operator& op, const DeviceType* type) {
  const auto measured = [&](std::string_view wanted) -> std::optional<Duration> {
    for (const MeasuredDuration& candidate : op.durations) {
      if (candidate.device_type == wanted) return candidate.duration;
    }
    return std::nullopt;
  };
  if (type != nullptr) {
    if (const auto found = measured(type->name)) return found;
  }
  if (const auto found = measured("")) return found;
  const bool has_rates = op.flops || op.bytes_accessed;
  if (type == nullptr || !has_rates) return std::nullopt;

  double compute_seconds = 0;
  if (op.flops.value_or(0) > 0) {
    const auto peak = type->peak_flops_per_s.find(op.dtype);
    if (peak == type->peak_flops_per_s.end()) return std::nullopt;
    compute_seconds = *op.flops / peak->second;
  }
  double memory_seconds = 0;
  if (op.bytes_accessed.value_or(0) > 0) {
    if (!type->memory_bandwidth_bytes_per_s) return std::nullopt;
    memory_seconds = *op.bytes_accessed / *type->memory_bandwidth_bytes_per_s;
  }
  const double nanoseconds = std::ceil(std::max(compute_seconds, memory_seconds) * 1e9);
  if (!(nanoseconds <= static_cast<double>(kMaxInputValue))) return std::nullopt;
  return Duration(static_cast<std::int64_t>(nanoseconds));
}

const DeviceType* type_of(const Cluster& cluster, DeviceId device) {
  for (const DeviceType& type : cluster.types()) {
    if (type.name == cluster.at(device).type) return &type;
  }
  return nullptr;
}

bool runs_on(const ModeSpec& mode, const Cluster& cluster, std::span<const DeviceId> devices) {
  // Both sides name each device once: of equal size, one contains the other only if they are equal.
  return mode.devices.size() == devices.size() && std::all_of(devices.begin(), devices.end(), [&](DeviceId device) {
           return std::find(mode.devices.begin(), mode.devices.end(), cluster.at(device).name) != mode.devices.end();
         });
}

}  // namespace

std::optional<AllowedMode> mode_of(const Reading& reading, const Run& run, std::string* why_not) {
  const auto refuse = [&](auto make_reason) -> std::optional<AllowedMode> {
    if (why_not != nullptr) *why_not = make_reason();
    return std::nullopt;
  };
  const Operator& op = reading.graph().at(run.op);
  const Cluster& cluster = reading.cluster();
  for (const DeviceId device : run.devices) {
    const std::vector<std::string>& has = cluster.at(device).streams;
    for (const std::string& stream : op.streams) {
      if (std::find(has.begin(), has.end(), stream) == has.end()) {
        return refuse([&] {
          return fmt::format("device {} has no stream \"{}\", which it needs", reading.name(device), stream);
        });
      }
    }
  }
  if (!op.modes.empty()) {
    for (const ModeSpec& mode : op.modes) {
      if (runs_on(mode, cluster, run.devices)) return AllowedMode{mode.duration, mode.workspace};
    }
    return refuse([] { return std::string("none of its modes is on these devices"); });
  }
  if (run.devices.size() != 1) {
    return refuse([] { return std::string("expected one device, since it has no gang modes"); });
  }
  const std::optional<Duration> duration = duration_on(op, type_of(cluster, run.devices.front()));
  if (!duration) {
    return refuse([] { return std::string("neither a measurement nor a rate gives its duration there"); });
  }
  return AllowedMode{*duration, op.workspace};
}

std::vector<Hold> check_once(const Reading& reading, ViolationList& violations) {
  std::vector<Hold> workspaces;
  for (const Run& run : reading.runs()) {
    if (!run.present) continue;
    if (run.start < Duration()) {
      violations.add(Rule::kOnce, [&] {
        return fmt::format("task {} starts at {} ns, expected at least 0", reading.name(run), run.start.value());
      });
    }
    std::string why_not;
    const std::optional<AllowedMode> mode = mode_of(reading, run, &why_not);
    if (!mode) {
      violations.add(Rule::kOnce, [&] {
        return fmt::format("task {} runs on {}: {}", reading.name(run), reading.names(run.devices), why_not);
      });
      continue;
    }
    const Wide lasts = Wide{run.end.value()} - run.start.value();
    if (lasts != mode->duration.value()) {
      violations.add(Rule::kOnce, [&] {
        return fmt::format("task {} on {} runs from {} to {} ns, which is {} ns, expected {} ns", reading.name(run),
                           reading.names(run.devices), run.start.value(), run.end.value(), lasts,
                           mode->duration.value());
      });
    }
    for (const DeviceId device : run.devices) workspaces.push_back({device, run.start, run.end, mode->workspace});
  }
  return workspaces;
}

}  // namespace opweave::checking
