#include "check/routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <queue>
#include <string_view>
#include <tuple>

namespace opweave::checking {
namespace {

/// Length of the best way from a vertex to the destination in hand.
struct Distance {
  Wide latency = std::numeric_limits<std::int64_t>::max();
  std::size_t links = std::numeric_limits<std::size_t>::max();  // the largest: no way

  auto operator<=>(const Distance&) const = default;
};

/// Devices and switches, and the links between them.
class Map {
 public:
  explicit Map(const Cluster& cluster) : cluster_(cluster) {
    std::unordered_map<std::string_view, std::size_t> vertices;
    const auto number = [&](std::string_view name) { vertices.emplace(name, vertices.size()); };
    for (const Device& device : cluster.devices()) number(device.name);
    for (const std::string& name : cluster.parts().switches) number(name);
    ways_out_.resize(vertices.size());
    for (std::size_t i = 0; i < cluster.links().size(); ++i) {
      const std::size_t a = vertices.at(cluster.links()[i].a);
      const std::size_t b = vertices.at(cluster.links()[i].b);
      ways_out_[a].push_back({i, b, false});
      ways_out_[b].push_back({i, a, true});
    }
  }

  /// From every vertex to the destination: least latency, then fewest links (Dijkstra 1959). A link takes as long in
  /// both directions, so it may be walked from the destination.
  [[nodiscard]] std::vector<Distance> distances_to(std::size_t destination) const {
    using Candidate = std::tuple<Distance, std::size_t>;
    std::vector<Distance> best(ways_out_.size());
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
    best[destination] = {0, 0};
    candidates.emplace(best[destination], destination);
    while (!candidates.empty()) {
      const auto [distance, vertex] = candidates.top();
      candidates.pop();
      if (distance != best[vertex]) continue;
      for (const WayOut& way : ways_out_[vertex]) {
        const Distance longer = longer_by(way, distance);
        if (longer >= best[way.to]) continue;
        best[way.to] = longer;
        candidates.emplace(longer, way.to);
      }
    }
    return best;
  }

  /// From the source, at each vertex the first link in the file that leads on along a best way: no way that is as good
  /// has a link named earlier where they part.
  [[nodiscard]] Passage walk(std::size_t source, std::size_t destination,
                             const std::vector<Distance>& distances) const {
    Passage passage;
    passage.latency = distances[source].latency;
    for (std::size_t vertex = source; vertex != destination;) {
      const WayOut& next = *std::ranges::find_if(ways_out_[vertex], [&](const WayOut& way) {
        return distances[way.to].links < distances[vertex].links &&
               longer_by(way, distances[way.to]) == distances[vertex];
      });
      const Link& link = cluster_.links()[next.link];
      passage.links.push_back(2 * next.link + (link.full_duplex && next.backward ? 1 : 0));
      if (link.bandwidth_bytes_per_s) {
        const std::int64_t slowest = passage.bandwidth_bytes_per_s.value_or(*link.bandwidth_bytes_per_s);
        passage.bandwidth_bytes_per_s = std::min(slowest, *link.bandwidth_bytes_per_s);
      }
      vertex = next.to;
    }
    return passage;
  }

 private:
  struct WayOut {
    std::size_t link;
    std::size_t to;
    bool backward;  // from `b` of the link to its `a`
  };
  [[nodiscard]] Distance longer_by(const WayOut& way, const Distance& distance) const {
    return {distance.latency + cluster_.links()[way.link].latency.value(), distance.links + 1};
  }

  const Cluster& cluster_;
  std::vector<std::vector<WayOut>> ways_out_;  // by vertex, in the order of the file
};

}  // namespace

Wide Passage::lasts(Bytes size) const {
  if (!bandwidth_bytes_per_s) return latency;
  const Wide bandwidth = *bandwidth_bytes_per_s;
  return latency + (Wide{size.value()} * 1'000'000'000 + bandwidth - 1) / bandwidth;
}

Routes::Routes(const Reading& reading) : cluster_(reading.cluster()) {
  std::vector<std::pair<DeviceId, DeviceId>> pairs;  // destination, source
  for (const KnownTransfer& transfer : reading.transfers()) pairs.emplace_back(transfer.destination, transfer.source);
  std::ranges::sort(pairs);
  const auto repeated = std::ranges::unique(pairs);
  pairs.erase(repeated.begin(), repeated.end());

  const Map map(cluster_);
  std::optional<DeviceId> reached;
  std::vector<Distance> distances;  // to `reached`
  for (const auto& [destination, source] : pairs) {
    if (source == destination) continue;
    if (reached != destination) distances = map.distances_to(destination.index());
    reached = destination;
    const std::uint64_t key = pair(source, destination);
    if (distances[source.index()] != Distance()) {
      passages_.emplace(key, map.walk(source.index(), destination.index(), distances));
    } else if (const auto& link = cluster_.parts().default_link) {
      passages_.emplace(
          key, Passage{link->latency.value(), link->bandwidth_bytes_per_s, {2 * cluster_.links().size() + key}});
    }
  }
}

const Passage* Routes::of(const KnownTransfer& transfer) const {
  const auto found = passages_.find(pair(transfer.source, transfer.destination));
  return found == passages_.end() ? nullptr : &found->second;
}

std::string Routes::link_name(std::uint64_t key) const {
  const std::uint64_t first_pair = 2 * cluster_.links().size();
  if (key < first_pair) return fmt::format("link \"{}\"", cluster_.links()[key / 2].name);
  const std::uint64_t pair = key - first_pair;
  return fmt::format("default link from \"{}\" to \"{}\"", cluster_.devices()[pair / cluster_.device_count()].name,
                     cluster_.devices()[pair % cluster_.device_count()].name);
}

}  // namespace opweave::checking
