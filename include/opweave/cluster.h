/// Devices and the links between them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/id.h"
#include "opweave/quantity.h"

namespace opweave {

/// The way between the devices of a type and their hosts: one copy at a time in each direction.
struct HostLink {
  Duration latency;
  std::optional<std::int64_t> bandwidth_bytes_per_s = {};  ///< per direction; none = infinite
  bool operator==(const HostLink&) const = default;
};

/// What a device can do; several devices share one type.
struct DeviceType {
  std::string name;
  std::map<std::string, double> peak_flops_per_s;  ///< by dtype
  std::optional<double> memory_bandwidth_bytes_per_s;
  std::optional<HostLink> host_link = {};  ///< none = its devices have no host to copy to
};

/// One processor with its memory, or a group of them planned as one.
struct Device {
  std::string name;
  std::string type;                                ///< name of a DeviceType; may be empty
  std::optional<Bytes> memory;                     ///< capacity; none = unlimited
  std::vector<std::string> streams = {"compute"};  ///< always contains "compute"
  std::optional<Bytes> host_memory = {};           ///< capacity on its host; none = unlimited
};

/// A channel between two vertices (devices or switches).
struct Link {
  std::string name;
  std::string a;
  std::string b;
  Duration latency;
  std::optional<std::int64_t> bandwidth_bytes_per_s;  ///< per direction; none = infinite
  bool full_duplex = true;
};

/// How transfers share the cluster.
enum class Contention : std::uint8_t {
  kNone,      ///< transfers only take time
  kEndpoint,  ///< a device sends one and receives one transfer at a time
  kLink,      ///< each link of the route carries one transfer at a time (per direction if full duplex);
              ///< an ordered pair on the default link has a link of its own
};
/// "none", "endpoint", "link".
[[nodiscard]] std::string_view to_string(Contention contention);
/// Inverse of to_string; nothing for any other text.
[[nodiscard]] std::optional<Contention> contention_from_string(std::string_view text);

/// One link in one direction.
struct Hop {
  LinkId link;
  bool forward = true;  ///< from `a` to `b`
  auto operator<=>(const Hop&) const = default;
};

/// How fast values go from one device to another: the latencies of the links add up, the slowest gives the bandwidth.
struct Rate {
  Duration latency;
  std::optional<std::int64_t> bandwidth_bytes_per_s;  ///< none = infinite
  bool operator==(const Rate&) const = default;
};

/// latency + ceil(bytes / bandwidth); absurdly slow links saturate instead of overflowing.
[[nodiscard]] Duration transfer_time(Bytes bytes, const Rate& rate);

/// Way from one device to another.
struct Route : Rate {
  std::vector<Hop> hops;  ///< empty for the default link, which every ordered pair has to itself
};

/// Everything a cluster is made of, before it is checked.
struct ClusterParts {
  std::string name;
  std::vector<DeviceType> types;
  std::vector<Device> devices;
  std::vector<std::string> switches;
  std::vector<Link> links;
  /// Joins each ordered pair of devices that no chain of links joins; `a`, `b`, `name` are ignored.
  std::optional<Link> default_link;
  Contention contention = Contention::kNone;
};

namespace detail {
class Routes;
}

/// Devices, links and the route between any two devices, checked and immutable.
class Cluster {
 public:
  Cluster() = default;

  /// Checks the parts. Routes - least latency, then fewest links, then the links named first - are found
  /// when they are asked for: O(L + V log V) once per device where they begin, for L links and V vertices.
  /// \throws InputError for no device, an empty or repeated name, an unknown type or link end, a
  ///   link from a vertex to itself, a negative latency or capacity, a bandwidth that is not
  ///   positive, a device without a "compute" stream or with a repeated one, more than 32 streams, or so many devices
  ///   and switches that the routes between them take gigabytes.
  static Cluster create(ClusterParts parts);

  [[nodiscard]] const std::string& name() const { return parts_.name; }
  [[nodiscard]] const std::vector<Device>& devices() const { return parts_.devices; }
  [[nodiscard]] const std::vector<DeviceType>& types() const { return parts_.types; }
  [[nodiscard]] const std::vector<Link>& links() const { return parts_.links; }
  [[nodiscard]] const ClusterParts& parts() const { return parts_; }
  [[nodiscard]] const Device& at(DeviceId id) const { return parts_.devices[id.index()]; }
  /// Type of a device; nullptr for a device without one. O(types)
  [[nodiscard]] const DeviceType* type_of(DeviceId device) const;
  [[nodiscard]] Contention contention() const { return parts_.contention; }
  [[nodiscard]] std::size_t device_count() const { return parts_.devices.size(); }

  /// Stream names of all devices, "compute" first, then in order of first appearance.
  [[nodiscard]] const std::vector<std::string>& stream_names() const { return stream_names_; }
  [[nodiscard]] std::optional<StreamId> find_stream(std::string_view name) const;
  [[nodiscard]] std::optional<DeviceId> find_device(std::string_view name) const;
  /// Bit s is set if the device has stream s.
  [[nodiscard]] std::uint32_t stream_mask(DeviceId device) const { return stream_masks_[device.index()]; }

  /// Route between two different devices; nothing where the cluster does not join them.
  [[nodiscard]] std::optional<Route> route(DeviceId from, DeviceId to) const;
  /// The same without its links: quick where many routes are compared.
  [[nodiscard]] std::optional<Rate> rate(DeviceId from, DeviceId to) const;
  /// The rate between any two different devices, where it is the same for all of them.
  [[nodiscard]] std::optional<Rate> common_rate() const;
  /// latency + ceil(bytes / bandwidth) along the route; nothing where there is no route.
  [[nodiscard]] std::optional<Duration> transfer_time(Bytes bytes, DeviceId from, DeviceId to) const;

  /// Something that carries one transfer at a time: an endpoint, a link in one direction, or the default
  /// link of one ordered pair. Distinct for distinct things of one contention model.
  using Channel = std::uint64_t;
  /// What a transfer keeps busy under a contention model; empty for Contention::kNone.
  [[nodiscard]] std::vector<Channel> channels(DeviceId from, DeviceId to, Contention contention) const;

 private:
  void index_streams();

  ClusterParts parts_;
  std::vector<std::string> stream_names_;
  std::vector<std::uint32_t> stream_masks_;
  std::vector<std::uint32_t> device_by_name_;     // device indices sorted by name
  std::shared_ptr<const detail::Routes> routes_;  // null if there are no links; shared by copies
};

/// The fastest that transfers between any two different devices of a cluster can be, from its links alone, so that no
/// pair is looked at.
class FastestWay {
 public:
  explicit FastestWay(const Cluster& cluster);

  /// No transfer of so many bytes takes less; 0 where nothing joins devices.
  [[nodiscard]] Duration time(Bytes bytes) const;

 private:
  std::vector<Rate> rates_;  // ascending in latency and in bandwidth
};

}  // namespace opweave
