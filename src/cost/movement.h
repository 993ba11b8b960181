/// How long movements between layouts take, in whole nanoseconds (docs/layouts.md#durations).
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "opweave/cluster.h"
#include "opweave/quantity.h"

namespace opweave {

/// The slowest of several ways: their largest latency, their smallest bandwidth. Nothing where one does not exist.
[[nodiscard]] std::optional<Rate> slowest_rate(const Cluster& cluster,
                                               const std::vector<std::pair<DeviceId, DeviceId>>& pairs);
/// From each device to the next, and from the last to the first.
[[nodiscard]] std::vector<std::pair<DeviceId, DeviceId>> ring_pairs(const std::vector<DeviceId>& devices);
/// From each device of the first list to each other one of the second.
[[nodiscard]] std::vector<std::pair<DeviceId, DeviceId>> all_pairs(const std::vector<DeviceId>& from,
                                                                   const std::vector<DeviceId>& to);

/// steps x latency + bytes x share / (parts x bandwidth), rounded up; at most kMaxInputValue.
[[nodiscard]] Duration stepwise_time(const Rate& rate, std::int64_t steps, Bytes bytes, std::int64_t share,
                                     std::int64_t parts);

/// The time of a movement, whatever the bytes of what it moves.
struct MovementTime {
  Rate rate;
  std::int64_t steps = 0;
  std::int64_t share = 0;
  std::int64_t parts = 1;
  std::int64_t split = 1;  ///< what counts is the largest of so many parts of the tensor

  /// stepwise_time, of a tensor of `bytes` in all.
  [[nodiscard]] Duration of(Bytes bytes) const;
};

// On a ring of n devices (Chan, Heimlich, Purkayastha, van de Geijn 2007).
/// all_gather, and reduce_scatter: n - 1 steps of a part each.
[[nodiscard]] MovementTime gather_time(const Rate& rate, std::int64_t devices);
/// A reduce_scatter and an all_gather.
[[nodiscard]] MovementTime all_reduce_time(const Rate& rate, std::int64_t devices);
/// Each device keeps one n-th of its part and sends the others away, to one device after the other.
[[nodiscard]] MovementTime all_to_all_time(const Rate& rate, std::int64_t devices);

}  // namespace opweave
