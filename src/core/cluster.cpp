#include "opweave/cluster.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "core/require_amount.h"
#include "core/routes.h"
#include "opweave/error.h"

namespace opweave {
namespace {

constexpr std::size_t kMaxStreams = 32;  // stream sets are 32-bit masks

void validate_link(const Link& link, const std::string& where) {
  require_amount(link.latency.value(), fmt::format("latency of {}", where));
  if (link.bandwidth_bytes_per_s && *link.bandwidth_bytes_per_s <= 0) {
    throw InputError(
        fmt::format("bandwidth of {} is {}, expected a positive number", where, *link.bandwidth_bytes_per_s));
  }
}

void validate_rate(double value, const std::string& where) {
  if (!(std::isfinite(value) && value > 0)) {
    throw InputError(fmt::format("{} is {}, expected a positive number", where, value));
  }
}

std::set<std::string> checked_names(const ClusterParts& parts) {
  std::set<std::string> types;
  for (const DeviceType& type : parts.types) {
    if (type.name.empty()) throw InputError("device type has an empty name");
    if (!types.insert(type.name).second)
      throw InputError(fmt::format("device type \"{}\" is defined twice", type.name));
    for (const auto& [dtype, rate] : type.peak_flops_per_s) {
      validate_rate(rate, fmt::format("peak {} flops of device type \"{}\"", dtype, type.name));
    }
    if (type.memory_bandwidth_bytes_per_s) {
      validate_rate(*type.memory_bandwidth_bytes_per_s,
                    fmt::format("memory bandwidth of device type \"{}\"", type.name));
    }
    if (type.host_link) {
      require_amount(type.host_link->latency.value(),
                     fmt::format("latency of the host link of device type \"{}\"", type.name));
      if (type.host_link->bandwidth_bytes_per_s) {
        validate_rate(static_cast<double>(*type.host_link->bandwidth_bytes_per_s),
                      fmt::format("bandwidth of the host link of device type \"{}\"", type.name));
      }
    }
  }
  if (parts.devices.empty()) throw InputError("cluster has no device");
  std::set<std::string> vertices;
  for (const Device& device : parts.devices) {
    if (device.name.empty()) throw InputError("device has an empty name");
    if (!vertices.insert(device.name).second)
      throw InputError(fmt::format("device \"{}\" is defined twice", device.name));
    if (!device.type.empty() && !types.contains(device.type)) {
      throw InputError(fmt::format("device \"{}\" has unknown type \"{}\"", device.name, device.type));
    }
    if (device.memory) require_amount(device.memory->value(), fmt::format("memory of device \"{}\"", device.name));
    if (device.host_memory) {
      require_amount(device.host_memory->value(), fmt::format("host memory of device \"{}\"", device.name));
    }
    if (std::find(device.streams.begin(), device.streams.end(), "compute") == device.streams.end()) {
      throw InputError(fmt::format("device \"{}\" has no stream \"compute\"", device.name));
    }
    if (std::set<std::string>(device.streams.begin(), device.streams.end()).size() != device.streams.size()) {
      throw InputError(fmt::format("device \"{}\" lists one stream twice", device.name));
    }
  }
  for (const std::string& name : parts.switches) {
    if (name.empty()) throw InputError("switch has an empty name");
    if (!vertices.insert(name).second) throw InputError(fmt::format("device or switch \"{}\" is defined twice", name));
  }
  return vertices;
}

}  // namespace

std::string_view to_string(Contention contention) {
  switch (contention) {
    case Contention::kNone:
      return "none";
    case Contention::kEndpoint:
      return "endpoint";
    case Contention::kLink:
      return "link";
  }
  throw InternalError("unknown contention model");
}

std::optional<Contention> contention_from_string(std::string_view text) {
  for (const Contention contention : {Contention::kNone, Contention::kEndpoint, Contention::kLink}) {
    if (text == to_string(contention)) return contention;
  }
  return std::nullopt;
}

Cluster Cluster::create(ClusterParts parts) {
  const std::set<std::string> vertices = checked_names(parts);
  std::set<std::string> link_names;
  for (const Link& link : parts.links) {
    const std::string where = fmt::format("link \"{}\"", link.name);
    if (link.name.empty()) throw InputError("link has an empty name");
    if (!link_names.insert(link.name).second) throw InputError(where + " is defined twice");
    validate_link(link, where);
    for (const std::string& end : {link.a, link.b}) {
      if (!vertices.contains(end))
        throw InputError(fmt::format("{} ends at unknown device or switch \"{}\"", where, end));
    }
    if (link.a == link.b) throw InputError(fmt::format("{} joins \"{}\" to itself", where, link.a));
  }
  if (parts.default_link) validate_link(*parts.default_link, "the default link");

  Cluster cluster;
  cluster.parts_ = std::move(parts);
  cluster.index_streams();
  cluster.device_by_name_.resize(cluster.device_count());
  std::iota(cluster.device_by_name_.begin(), cluster.device_by_name_.end(), 0U);
  std::sort(cluster.device_by_name_.begin(), cluster.device_by_name_.end(), [&](std::uint32_t a, std::uint32_t b) {
    return cluster.parts_.devices[a].name < cluster.parts_.devices[b].name;
  });
  if (!cluster.parts_.links.empty()) cluster.routes_ = std::make_shared<const detail::Routes>(cluster.parts_);
  return cluster;
}

void Cluster::index_streams() {
  stream_names_ = {"compute"};
  for (const Device& device : parts_.devices) {
    std::uint32_t mask = 0;
    for (const std::string& name : device.streams) {
      if (name.empty()) throw InputError(fmt::format("device \"{}\" has a stream with an empty name", device.name));
      auto found = std::find(stream_names_.begin(), stream_names_.end(), name);
      if (found == stream_names_.end()) {
        if (stream_names_.size() == kMaxStreams) {
          throw InputError(fmt::format("devices have more than {} different streams", kMaxStreams));
        }
        stream_names_.push_back(name);
        found = std::prev(stream_names_.end());
      }
      mask |= 1U << static_cast<unsigned>(found - stream_names_.begin());
    }
    stream_masks_.push_back(mask);
  }
}

std::optional<StreamId> Cluster::find_stream(std::string_view name) const {
  const auto found = std::find(stream_names_.begin(), stream_names_.end(), name);
  if (found == stream_names_.end()) return std::nullopt;
  return StreamId(static_cast<std::size_t>(found - stream_names_.begin()));
}

std::optional<DeviceId> Cluster::find_device(std::string_view name) const {
  const auto found = std::lower_bound(
      device_by_name_.begin(), device_by_name_.end(), name,
      [&](std::uint32_t device, std::string_view wanted) { return parts_.devices[device].name < wanted; });
  if (found == device_by_name_.end() || parts_.devices[*found].name != name) return std::nullopt;
  return DeviceId(*found);
}

const DeviceType* Cluster::type_of(DeviceId device) const {
  const auto found = std::ranges::find(parts_.types, at(device).type, &DeviceType::name);
  return found == parts_.types.end() ? nullptr : &*found;
}

std::optional<Rate> Cluster::rate(DeviceId from, DeviceId to) const {
  if (from == to) return std::nullopt;
  if (routes_) {
    if (const auto found = routes_->figures(from, to)) {
      return Rate{found->latency, found->bandwidth == 0 ? std::nullopt : std::optional(found->bandwidth)};
    }
  }
  if (!parts_.default_link) return std::nullopt;
  return Rate{parts_.default_link->latency, parts_.default_link->bandwidth_bytes_per_s};
}

std::optional<Route> Cluster::route(DeviceId from, DeviceId to) const {
  const std::optional<Rate> found = rate(from, to);
  if (!found) return std::nullopt;
  Route result{*found, {}};
  if (routes_ && routes_->figures(from, to)) result.hops = routes_->hops(from, to);
  return result;
}

std::optional<Rate> Cluster::common_rate() const {
  const std::size_t count = device_count();
  if (!routes_ || count < 2) return parts_.default_link ? rate(DeviceId(0), DeviceId(count - 1)) : std::nullopt;
  // Devices that begin and end their routes in the same way differ in nothing, so one or two of each kind will do.
  const std::vector<DeviceId> some = routes_->two_of_each_kind();
  const std::optional<Rate> first = rate(DeviceId(0), DeviceId(1));
  for (const DeviceId from : some) {
    for (const DeviceId to : some) {
      if (from != to && rate(from, to) != first) return std::nullopt;
    }
  }
  return first;
}

std::optional<Duration> Cluster::transfer_time(Bytes bytes, DeviceId from, DeviceId to) const {
  const std::optional<Rate> found = rate(from, to);
  if (!found) return std::nullopt;
  return opweave::transfer_time(bytes, *found);
}

Duration transfer_time(Bytes bytes, const Rate& rate) {
  if (!rate.bandwidth_bytes_per_s) return rate.latency;
  // Nearly all messages are small enough for 64 bits, and division of 128 bits costs ten times as much.
  constexpr std::int64_t kMostBytes = 9'000'000'000;
  if (bytes.value() <= kMostBytes) {
    const auto amount = static_cast<std::uint64_t>(bytes.value()) * 1'000'000'000U;
    const auto width = static_cast<std::uint64_t>(*rate.bandwidth_bytes_per_s);
    const std::uint64_t time = amount / width + (amount % width == 0 ? 0 : 1);
    return rate.latency + Duration(std::min(static_cast<std::int64_t>(time), kMaxInputValue));
  }
  __extension__ using Wide = __int128;  // bytes x 10^9 exceeds 64 bits
  const Wide bandwidth = *rate.bandwidth_bytes_per_s;
  const Wide nanoseconds = (Wide{bytes.value()} * 1'000'000'000 + bandwidth - 1) / bandwidth;
  // Absurdly slow links saturate instead of overflowing; Problem rejects totals of this size.
  const Wide capped = std::min<Wide>(nanoseconds, Wide{kMaxInputValue});
  return rate.latency + Duration(static_cast<std::int64_t>(capped));
}

std::vector<Cluster::Channel> Cluster::channels(DeviceId from, DeviceId to, Contention contention) const {
  switch (contention) {
    case Contention::kNone:
      break;
    case Contention::kEndpoint:
      return {2 * from.index(), 2 * to.index() + 1};
    case Contention::kLink: {
      const std::optional<Route> found = route(from, to);
      if (!found) break;
      const Channel pair = 2 * parts_.links.size() + from.index() * device_count() + to.index();
      if (found->hops.empty()) return {pair};
      std::vector<Channel> result;
      for (const Hop& hop : found->hops) {
        const bool other_direction = parts_.links[hop.link.index()].full_duplex && !hop.forward;
        result.push_back(2 * hop.link.index() + (other_direction ? 1 : 0));
      }
      return result;
    }
  }
  return {};
}

FastestWay::FastestWay(const Cluster& cluster) {
  std::vector<Rate> all;
  const auto& default_link = cluster.parts().default_link;
  if (default_link) all.push_back({default_link->latency, default_link->bandwidth_bytes_per_s});
  const auto is_device = [&](const std::string& name) { return cluster.find_device(name).has_value(); };
  std::optional<Duration> least;  // of the links with which routes begin and end
  for (const Link& link : cluster.links()) {
    if (is_device(link.a) || is_device(link.b)) least = std::min(least.value_or(link.latency), link.latency);
  }
  for (const Link& link : cluster.links()) {
    const bool from_device = is_device(link.a);
    const bool to_device = is_device(link.b);
    // Alone it may be a route; from a device to a switch, only part of one.
    if (from_device && to_device) all.push_back({link.latency, link.bandwidth_bytes_per_s});
    if (from_device != to_device) all.push_back({link.latency + *least, link.bandwidth_bytes_per_s});
  }
  constexpr std::int64_t kInstant = std::numeric_limits<std::int64_t>::max();
  std::sort(all.begin(), all.end(), [&](const Rate& a, const Rate& b) {
    return std::pair(a.latency, b.bandwidth_bytes_per_s.value_or(kInstant)) <
           std::pair(b.latency, a.bandwidth_bytes_per_s.value_or(kInstant));
  });
  for (const Rate& rate : all) {
    const std::int64_t bandwidth = rate.bandwidth_bytes_per_s.value_or(kInstant);
    if (rates_.empty() || bandwidth > rates_.back().bandwidth_bytes_per_s.value_or(kInstant)) rates_.push_back(rate);
  }
}

Duration FastestWay::time(Bytes bytes) const {
  std::optional<Duration> least;
  for (const Rate& rate : rates_) {
    const Duration time = transfer_time(bytes, rate);
    least = std::min(least.value_or(time), time);
  }
  return least.value_or(Duration());
}

}  // namespace opweave
