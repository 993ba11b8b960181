/// The ways of transfers through a cluster, found from its links and the words of docs/formats.md alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "check/reading.h"

namespace opweave::checking {

/// The way from one device to another.
struct Passage {
  Wide latency = 0;
  std::optional<std::int64_t> bandwidth_bytes_per_s;  ///< of the slowest link; nothing = infinite
  /// What it occupies under Contention::kLink: a key for each link, or direction of a full-duplex link, or one for the
  /// default link of the pair.
  std::vector<std::uint64_t> links;

  /// latency + bytes / bandwidth, rounded up to a nanosecond.
  [[nodiscard]] Wide lasts(Bytes size) const;
};

/// Passages of the transfers of a plan. Takes room for the pairs of devices between which the plan sends, and for one
/// destination at a time while it looks for them.
class Routes {
 public:
  explicit Routes(const Reading& reading);

  /// nullptr where the cluster does not join the two.
  [[nodiscard]] const Passage* of(const KnownTransfer& transfer) const;
  /// Name of a key in Passage::links, for messages.
  [[nodiscard]] std::string link_name(std::uint64_t key) const;

 private:
  [[nodiscard]] std::uint64_t pair(DeviceId source, DeviceId destination) const {
    return source.index() * cluster_.device_count() + destination.index();
  }

  const Cluster& cluster_;
  std::unordered_map<std::uint64_t, Passage> passages_;
};

}  // namespace opweave::checking
