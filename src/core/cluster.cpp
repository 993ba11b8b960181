#include "opweave/cluster.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <queue>
#include <set>
#include <tuple>
#include <unordered_map>

#include "opweave/error.h"

namespace opweave {
namespace {

constexpr std::size_t kMaxStreams = 32;  // stream sets are 32-bit masks

void require_amount(std::int64_t value, const std::string& where) {
  if (value < 0 || value > kMaxInputValue) {
    throw InputError(fmt::format("{} is {}, expected an integer of 0 to {}", where, value, kMaxInputValue));
  }
}

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

/// Links at each vertex (devices, then switches). A device forwards: routes may pass through it, as they do on a ring.
struct LinkGraph {
  struct Edge {
    std::uint32_t to;
    Hop hop;
  };
  std::vector<std::vector<Edge>> edges;  // per vertex in order of link id
  std::vector<std::int64_t> latencies;   // by link id

  explicit LinkGraph(const ClusterParts& parts) : edges(parts.devices.size() + parts.switches.size()) {
    std::unordered_map<std::string_view, std::uint32_t> vertex_of;
    const auto number = [&](std::string_view name) {
      vertex_of.emplace(name, static_cast<std::uint32_t>(vertex_of.size()));
    };
    for (const Device& device : parts.devices) number(device.name);
    for (const std::string& name : parts.switches) number(name);
    for (std::size_t i = 0; i < parts.links.size(); ++i) {
      const std::uint32_t a = vertex_of.at(parts.links[i].a);
      const std::uint32_t b = vertex_of.at(parts.links[i].b);
      edges[a].push_back({b, {LinkId(i), true}});
      edges[b].push_back({a, {LinkId(i), false}});
      latencies.push_back(parts.links[i].latency.value());
    }
  }
};

/// How a vertex is reached from the source.
struct Way {
  std::int64_t latency = std::numeric_limits<std::int64_t>::max();
  std::uint32_t links = std::numeric_limits<std::uint32_t>::max();
  std::uint32_t before = 0;  // the vertex before the last link
  Hop last_hop;

  [[nodiscard]] bool is_reached() const { return links != std::numeric_limits<std::uint32_t>::max(); }
};

/// Of the ways that are equal in latency and number of links, the one whose links come first, compared from the source
/// on. Every part of such a way is one itself, so ways of h links compare by the places that their parts of h - 1 links
/// have among each other, then by their last link.
void choose_links_named_first(const LinkGraph& graph, std::vector<Way>& ways) {
  std::vector<std::uint32_t> order;  // reached vertices by number of links
  for (std::uint32_t v = 0; v < ways.size(); ++v) {
    if (ways[v].is_reached()) order.push_back(v);
  }
  std::ranges::stable_sort(order, {}, [&](std::uint32_t v) { return ways[v].links; });
  std::vector<std::uint32_t> place(ways.size(), 0);  // among the vertices with as many links
  const auto key = [&](std::uint32_t v) { return std::pair(place[ways[v].before], ways[v].last_hop.link); };
  for (std::size_t first = 1, end = 1; first < order.size(); first = end) {  // the source comes before them
    const std::uint32_t links = ways[order[first]].links;
    for (; end < order.size() && ways[order[end]].links == links; ++end) {
      Way& way = ways[order[end]];
      std::pair best(std::numeric_limits<std::uint32_t>::max(), LinkId());
      for (const auto& [before, hop] : graph.edges[order[end]]) {
        const bool is_equal =
            ways[before].links + 1 == links && ways[before].latency + graph.latencies[hop.link.index()] == way.latency;
        if (!is_equal || std::pair(place[before], hop.link) >= best) continue;
        best = {place[before], hop.link};
        way.before = before;
        way.last_hop = {hop.link, !hop.forward};
      }
    }
    const auto level = std::span(order).subspan(first, end - first);
    std::ranges::sort(level, {}, key);
    for (std::uint32_t i = 0; i < level.size(); ++i) place[level[i]] = i;
  }
}

/// By vertex: least latency, then fewest links, then the links named first. O(L + V log V).
std::vector<Way> ways_from(const LinkGraph& graph, std::uint32_t source) {
  using Label = std::tuple<std::int64_t, std::uint32_t, std::uint32_t>;  // latency, links, vertex
  std::vector<Way> ways(graph.edges.size());
  std::priority_queue<Label, std::vector<Label>, std::greater<>> queue;
  ways[source].latency = 0;
  ways[source].links = 0;
  queue.emplace(0, 0, source);
  while (!queue.empty()) {
    const auto [latency, links, vertex] = queue.top();
    queue.pop();
    if (std::pair(latency, links) != std::pair(ways[vertex].latency, ways[vertex].links)) continue;
    for (const LinkGraph::Edge& edge : graph.edges[vertex]) {
      const std::pair label(latency + graph.latencies[edge.hop.link.index()], links + 1);
      Way& way = ways[edge.to];
      if (label >= std::pair(way.latency, way.links)) continue;
      std::tie(way.latency, way.links) = label;
      queue.emplace(label.first, label.second, edge.to);
    }
  }
  choose_links_named_first(graph, ways);
  return ways;
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
  cluster.compute_routes();
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

void Cluster::compute_routes() {
  if (parts_.links.empty()) return;
  const std::size_t device_count = parts_.devices.size();
  const LinkGraph graph(parts_);
  routes_.resize(device_count * device_count);
  for (std::size_t source = 0; source < device_count; ++source) {
    const std::vector<Way> ways = ways_from(graph, static_cast<std::uint32_t>(source));
    for (std::size_t target = 0; target < device_count; ++target) {
      if (target == source || !ways[target].is_reached()) continue;
      StoredRoute& route = routes_[source * device_count + target];
      route.exists = true;
      route.latency = Duration(ways[target].latency);
      route.first_hop = static_cast<std::uint32_t>(hops_.size());
      route.hop_count = ways[target].links;
      for (std::size_t vertex = target; vertex != source; vertex = ways[vertex].before) {
        hops_.push_back(ways[vertex].last_hop);
      }
      std::reverse(hops_.begin() + route.first_hop, hops_.end());
      for (std::size_t h = route.first_hop; h < hops_.size(); ++h) {
        const auto bandwidth = parts_.links[hops_[h].link.index()].bandwidth_bytes_per_s;
        if (bandwidth && (route.bandwidth == 0 || *bandwidth < route.bandwidth)) route.bandwidth = *bandwidth;
      }
    }
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

std::optional<Route> Cluster::route(DeviceId from, DeviceId to) const {
  if (!routes_.empty()) {
    const StoredRoute& stored = routes_[from.index() * device_count() + to.index()];
    if (stored.exists) {
      return Route{stored.latency, stored.bandwidth == 0 ? std::nullopt : std::optional<std::int64_t>(stored.bandwidth),
                   std::span<const Hop>(hops_).subspan(stored.first_hop, stored.hop_count)};
    }
  }
  if (!parts_.default_link || from == to) return std::nullopt;
  return Route{parts_.default_link->latency, parts_.default_link->bandwidth_bytes_per_s, {}};
}

std::optional<Duration> Cluster::transfer_time(Bytes bytes, DeviceId from, DeviceId to) const {
  const std::optional<Route> found = route(from, to);
  if (!found) return std::nullopt;
  if (!found->bandwidth_bytes_per_s) return found->latency;
  // Nearly all messages are small enough for 64 bits, and division of 128 bits costs ten times as much.
  constexpr std::int64_t kMostBytes = 9'000'000'000;
  if (bytes.value() <= kMostBytes) {
    const auto amount = static_cast<std::uint64_t>(bytes.value()) * 1'000'000'000U;
    const auto rate = static_cast<std::uint64_t>(*found->bandwidth_bytes_per_s);
    const std::uint64_t time = amount / rate + (amount % rate == 0 ? 0 : 1);
    return found->latency + Duration(std::min(static_cast<std::int64_t>(time), kMaxInputValue));
  }
  __extension__ using Wide = __int128;  // bytes x 10^9 exceeds 64 bits
  const Wide bandwidth = *found->bandwidth_bytes_per_s;
  const Wide nanoseconds = (Wide{bytes.value()} * 1'000'000'000 + bandwidth - 1) / bandwidth;
  // Absurdly slow links saturate instead of overflowing; Problem rejects totals of this size.
  const Wide capped = std::min<Wide>(nanoseconds, Wide{kMaxInputValue});
  return found->latency + Duration(static_cast<std::int64_t>(capped));
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

}  // namespace opweave
