#include "cost/movement.h"

#include <algorithm>

namespace opweave {

std::optional<Rate> slowest_rate(const Cluster& cluster, const std::vector<std::pair<DeviceId, DeviceId>>& pairs) {
  Rate slowest;
  for (const auto& [from, to] : pairs) {
    const std::optional<Rate> rate = cluster.rate(from, to);
    if (!rate) return std::nullopt;
    slowest.latency = std::max(slowest.latency, rate->latency);
    if (!rate->bandwidth_bytes_per_s) continue;
    std::optional<std::int64_t>& bandwidth = slowest.bandwidth_bytes_per_s;
    bandwidth = bandwidth ? std::min(*bandwidth, *rate->bandwidth_bytes_per_s) : *rate->bandwidth_bytes_per_s;
  }
  return slowest;
}

std::vector<std::pair<DeviceId, DeviceId>> ring_pairs(const std::vector<DeviceId>& devices) {
  std::vector<std::pair<DeviceId, DeviceId>> pairs;
  if (devices.size() < 2) return pairs;
  for (std::size_t i = 0; i < devices.size(); ++i) pairs.emplace_back(devices[i], devices[(i + 1) % devices.size()]);
  return pairs;
}

std::vector<std::pair<DeviceId, DeviceId>> all_pairs(const std::vector<DeviceId>& from,
                                                     const std::vector<DeviceId>& to) {
  std::vector<std::pair<DeviceId, DeviceId>> pairs;
  for (const DeviceId a : from) {
    for (const DeviceId b : to) {
      if (a != b) pairs.emplace_back(a, b);
    }
  }
  return pairs;
}

Duration stepwise_time(const Rate& rate, std::int64_t steps, Bytes bytes, std::int64_t share, std::int64_t parts) {
  __extension__ using Wide = __int128;
  constexpr std::int64_t kNanosecondsPerSecond = 1'000'000'000;
  Wide time = Wide{rate.latency.value()} * steps;
  if (rate.bandwidth_bytes_per_s) {
    const Wide divisor = Wide{*rate.bandwidth_bytes_per_s} * parts;
    time += (Wide{bytes.value()} * share * kNanosecondsPerSecond + divisor - 1) / divisor;
  }
  return Duration(static_cast<std::int64_t>(std::min<Wide>(time, kMaxInputValue)));
}

Duration MovementTime::of(Bytes bytes) const {
  return stepwise_time(rate, steps, Bytes((bytes.value() + split - 1) / split), share, parts);
}

MovementTime gather_time(const Rate& rate, std::int64_t devices) { return {rate, devices - 1, devices - 1, devices}; }

MovementTime all_reduce_time(const Rate& rate, std::int64_t devices) {
  return {rate, 2 * (devices - 1), 2 * (devices - 1), devices};
}

MovementTime all_to_all_time(const Rate& rate, std::int64_t devices) {
  return {rate, devices - 1, devices - 1, devices * devices};
}

}  // namespace opweave
