#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "check/rules.h"

namespace opweave::checking {
namespace {

/// weights + ceil(weights x gradient factor) + ceil(weights x optimizer factor): each term fits in 64
/// bits, their sum need not.
Wide persistent_bytes(const Training& training, Bytes weights) {
  const auto scaled = [&](double factor) {
    return static_cast<std::int64_t>(std::ceil(static_cast<double>(weights.value()) * factor));
  };
  return Wide{weights.value()} + scaled(training.gradient_bytes_per_weight_byte) +
         scaled(training.optimizer_bytes_per_weight_byte);
}

}  // namespace

std::vector<Home> homes(const Reading& reading) {
  std::vector<Home> result;
  for (const Run& run : reading.runs()) {
    if (!run.present) continue;
    for (const ParameterId parameter : reading.graph().at(run.op).parameters) {
      for (const DeviceId device : run.devices) {
        // Neighbouring copies of an operator mostly share their home.
        if (result.empty() || result.back() != Home{parameter, device}) result.push_back({parameter, device});
      }
    }
  }
  std::sort(result.begin(), result.end());
  result.erase(std::unique(result.begin(), result.end()), result.end());
  return result;
}

std::vector<MemoryUse> check_memory(const Reading& reading, const std::vector<Hold>& holds, ViolationList& violations) {
  struct Change {
    DeviceId device;
    Duration time;
    std::int64_t bytes;
  };
  std::vector<MemoryUse> use(reading.cluster().device_count());
  for (const Home& home : homes(reading)) {
    use[home.device.index()].persistent +=
        persistent_bytes(reading.training(), reading.graph().at(home.parameter).weights);
  }
  std::vector<Change> changes;
  changes.reserve(2 * holds.size());
  for (const Hold& hold : holds) {
    if (hold.from >= hold.until || hold.size == Bytes()) continue;
    changes.push_back({hold.device, hold.from, hold.size.value()});
    changes.push_back({hold.device, hold.until, -hold.size.value()});
  }
  // Half-open intervals: what ends at a moment is gone before what starts then arrives.
  std::sort(changes.begin(), changes.end(), [](const Change& a, const Change& b) {
    return std::tie(a.device, a.time, a.bytes) < std::tie(b.device, b.time, b.bytes);
  });

  auto change = changes.begin();
  for (std::size_t d = 0; d < use.size(); ++d) {
    Wide level = use[d].persistent;
    use[d].peak = level;
    std::optional<Duration> when;  // of the peak; nothing = all the time
    for (; change != changes.end() && change->device == DeviceId(d); ++change) {
      level += change->bytes;
      if (level > use[d].peak) {
        use[d].peak = level;
        when = change->time;
      }
    }
    const std::optional<Bytes> limit = reading.plan().settings.memory_limit;
    const std::optional<Bytes> capacity = limit ? limit : reading.cluster().devices()[d].memory;
    if (!capacity || use[d].peak <= capacity->value()) continue;
    violations.add(Rule::kMemory, [&] {
      return fmt::format("memory of device {} reaches {} bytes{} ({} of them parameters), expected at most {}",
                         reading.name(DeviceId(d)), use[d].peak,
                         when ? fmt::format(" at {} ns", when->value()) : std::string(), use[d].persistent,
                         capacity->value());
    });
  }
  return use;
}

}  // namespace opweave::checking
