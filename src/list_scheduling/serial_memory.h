/// What memories hold while things run one after the other.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "opweave/problem.h"

namespace opweave {

/// Parameters live on a device from the beginning to the end, whenever they are decided upon, so what else was ever
/// held there must have left room for them. Values come and go, and count only while time passes.
class SerialMemory {
 public:
  explicit SerialMemory(const Problem& problem) {
    for (std::size_t d = 0; d < problem.cluster().device_count(); ++d) {
      const auto capacity = problem.capacity(DeviceId(d));
      devices_.push_back({capacity ? capacity->value() : kUnlimited, 0, 0, 0});
    }
  }

  /// More parameters, and beside what is held so many more bytes of values, fit while time passes.
  [[nodiscard]] bool has_room(DeviceId device, std::int64_t parameters, std::int64_t values) const {
    const Held& held = devices_[device.index()];
    return held.parameters + parameters + std::max(held.most, held.values + values) <= held.capacity;
  }
  /// Some device holds more than it can: no time may pass.
  [[nodiscard]] bool is_overfull() const { return overfull_ > 0; }
  /// Bytes as a part of the memory; of an unlimited one next to nothing.
  [[nodiscard]] double share(std::int64_t bytes, DeviceId device) const {
    return static_cast<double>(bytes) /
           static_cast<double>(std::max<std::int64_t>(1, devices_[device.index()].capacity));
  }
  /// The part of the memory that parameters and the most that values ever took need.
  [[nodiscard]] double filled(DeviceId device) const {
    const Held& held = devices_[device.index()];
    return share(held.parameters + std::max(held.most, held.values), device);
  }

  void add_parameters(DeviceId device, std::int64_t bytes) { change(device, bytes, 0); }
  /// Values arrive, or leave if negative.
  void hold(DeviceId device, std::int64_t bytes) { change(device, 0, bytes); }
  /// Time passes, with so many more bytes on one device.
  void pass_time(DeviceId device, std::int64_t more) {
    for (const DeviceId changed : changed_) note(changed, 0);
    changed_.clear();
    note(device, more);
  }

 private:
  static constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max() / 4;
  struct Held {
    std::int64_t capacity;
    std::int64_t parameters;
    std::int64_t values;
    std::int64_t most;  ///< of values, while time passed
    [[nodiscard]] bool is_overfull() const { return parameters + values > capacity; }
  };

  void change(DeviceId device, std::int64_t parameters, std::int64_t values) {
    Held& held = devices_[device.index()];
    if (held.is_overfull()) --overfull_;
    held.parameters += parameters;
    held.values += values;
    if (held.is_overfull()) ++overfull_;
    changed_.push_back(device);
  }
  void note(DeviceId device, std::int64_t more) {
    Held& held = devices_[device.index()];
    held.most = std::max(held.most, held.values + more);
  }

  std::vector<Held> devices_;
  std::size_t overfull_ = 0;
  std::vector<DeviceId> changed_;  ///< since time passed last
};

}  // namespace opweave
