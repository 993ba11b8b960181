#include "core/routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <queue>
#include <string_view>
#include <tuple>
#include <unordered_map>

#include "opweave/error.h"

namespace opweave::detail {
namespace {

constexpr double kMostBytes = 8e9;
constexpr std::int64_t kFar = std::numeric_limits<std::int64_t>::max();

}  // namespace

Routes::Routes(const ClusterParts& parts) {
  std::unordered_map<std::string_view, std::uint32_t> index_of;
  for (const Device& device : parts.devices) index_of.emplace(device.name, index_of.size());
  for (const std::string& name : parts.switches) index_of.emplace(name, index_of.size());
  std::vector<std::uint32_t> degree(index_of.size(), 0);
  for (const Link& link : parts.links) {
    ++degree[index_of.at(link.a)];
    ++degree[index_of.at(link.b)];
    latency_.push_back(link.latency.value());
    bandwidth_.push_back(link.bandwidth_bytes_per_s.value_or(0));
  }
  // A device with a single link is no place to pass through: routes need no tree there, only the link.
  const auto is_leaf = [&](std::uint32_t vertex, std::uint32_t neighbour) {
    return vertex < parts.devices.size() && degree[vertex] == 1 && degree[neighbour] > 1;
  };
  std::vector<Door> doors(index_of.size());
  for (std::uint32_t link = 0; link < parts.links.size(); ++link) {
    const std::uint32_t a = index_of.at(parts.links[link].a);
    const std::uint32_t b = index_of.at(parts.links[link].b);
    if (is_leaf(a, b)) doors[a].hop = 2 * link;
    if (is_leaf(b, a)) doors[b].hop = 2 * link + 1;
  }
  std::uint32_t vertices = 0;
  for (Door& door : doors) {
    if (door.hop == kNone) door.vertex = vertices++;
  }
  const double bytes = static_cast<double>(sizeof(Step)) * vertices * vertices;
  if (bytes > kMostBytes) {
    throw InputError(fmt::format("routes between {} devices and switches take {:.1f} GB, expected at most {:.1f} GB",
                                 vertices, bytes / 1e9, kMostBytes / 1e9));
  }
  edges_.resize(vertices);
  from_.resize(2 * parts.links.size(), kNone);
  for (std::uint32_t link = 0; link < parts.links.size(); ++link) {
    const std::uint32_t a = index_of.at(parts.links[link].a);
    const std::uint32_t b = index_of.at(parts.links[link].b);
    if (doors[a].hop != kNone) {
      doors[a].vertex = doors[b].vertex;
    } else if (doors[b].hop != kNone) {
      doors[b].vertex = doors[a].vertex;
    } else {
      edges_[doors[a].vertex].push_back({doors[b].vertex, 2 * link});
      edges_[doors[b].vertex].push_back({doors[a].vertex, 2 * link + 1});
      from_[2 * std::size_t{link}] = doors[a].vertex;
      from_[2 * std::size_t{link} + 1] = doors[b].vertex;
    }
  }
  doors.resize(parts.devices.size());
  doors_ = std::move(doors);
  trees_ = std::vector<std::atomic<const Tree*>>(vertices);
}

std::uint32_t Routes::slower(std::uint32_t a, std::uint32_t b) const {
  if (a == kNone || bandwidth_[a] == 0) return b;
  if (b == kNone || bandwidth_[b] == 0) return a;
  return bandwidth_[b] < bandwidth_[a] ? b : a;
}

const Routes::Tree& Routes::tree(Vertex source) const {
  const Tree* known = trees_[source].load(std::memory_order_acquire);
  if (known != nullptr) return *known;
  const std::lock_guard lock(growing_);
  known = trees_[source].load(std::memory_order_relaxed);
  if (known == nullptr) {
    known = grown_.emplace_back(std::make_unique<const Tree>(grow(source))).get();
    trees_[source].store(known, std::memory_order_release);
  }
  return *known;
}

Routes::Tree Routes::grow(Vertex source) const {
  // A device forwards nothing unless the links say so: routes may pass through devices, as they do on a ring.
  using Label = std::tuple<std::int64_t, std::uint32_t, Vertex>;  // latency, hops, vertex
  std::vector<std::pair<std::int64_t, std::uint32_t>> best(edges_.size(), {kFar, kNone});
  std::priority_queue<Label, std::vector<Label>, std::greater<>> queue;
  best[source] = {0, 0};
  queue.emplace(0, 0, source);
  // Absurd sums saturate instead of overflowing.
  const auto behind = [&](Vertex vertex, std::uint32_t hop) {
    return std::pair(std::min(best[vertex].first + latency_of(hop), kMaxInputValue), best[vertex].second + 1);
  };
  std::vector<std::vector<Vertex>> by_hops;
  while (!queue.empty()) {
    const auto [latency, hops, vertex] = queue.top();
    queue.pop();
    if (std::pair(latency, hops) != best[vertex]) continue;
    if (by_hops.size() <= hops) by_hops.resize(hops + 1);
    by_hops[hops].push_back(vertex);
    for (const Edge& edge : edges_[vertex]) {
      const auto label = behind(vertex, edge.hop);
      if (label >= best[edge.to]) continue;
      best[edge.to] = label;
      queue.emplace(label.first, label.second, edge.to);
    }
  }
  // Routes as good as each other have as many links, so their order is that of the routes to the vertex before, then
  // that of their last links: it is found from one number of links to the next.
  Tree tree(edges_.size());
  std::vector<std::uint32_t> rank(edges_.size(), 0);
  for (std::size_t hops = 1; hops < by_hops.size(); ++hops) {
    std::vector<std::tuple<std::uint32_t, std::uint32_t, Vertex>> order;  // rank of the vertex before, last hop, vertex
    for (const Vertex vertex : by_hops[hops]) {
      std::pair<std::uint32_t, std::uint32_t> first{kNone, kNone};
      for (const Edge& edge : edges_[vertex]) {
        if (best[edge.to].second + 1 != hops) continue;
        const std::uint32_t last = edge.hop ^ 1U;  // the same link, towards this vertex
        if (behind(edge.to, last) == best[vertex]) first = std::min(first, std::pair(rank[edge.to], last));
      }
      order.emplace_back(first.first, first.second, vertex);
    }
    std::sort(order.begin(), order.end());
    for (std::size_t i = 0; i < order.size(); ++i) {
      const auto [before, last, vertex] = order[i];
      rank[vertex] = static_cast<std::uint32_t>(i);
      tree[vertex] = {best[vertex].first, slower(tree[from_[last]].slowest, last / 2), last};
    }
  }
  return tree;
}

std::optional<Routes::Figures> Routes::figures(DeviceId from, DeviceId to) const {
  const Door& out = doors_[from.index()];
  const Door& in = doors_[to.index()];
  Step step;
  if (out.vertex != in.vertex) {
    step = tree(out.vertex)[in.vertex];
    if (step.last == kNone) return std::nullopt;
  }
  for (const Door* door : {&out, &in}) {
    if (door->hop == kNone) continue;
    step.latency = std::min(step.latency + latency_of(door->hop), kMaxInputValue);
    step.slowest = slower(step.slowest, door->hop / 2);
  }
  return Figures{Duration(step.latency), step.slowest == kNone ? 0 : bandwidth_[step.slowest]};
}

std::vector<DeviceId> Routes::two_of_each_kind() const {
  std::map<std::tuple<Vertex, std::int64_t, std::int64_t>, int> known;
  std::vector<DeviceId> result;
  for (std::size_t d = 0; d < doors_.size(); ++d) {
    const Door& door = doors_[d];
    const bool alone = door.hop == kNone;
    if (alone || ++known[{door.vertex, latency_[door.hop / 2], bandwidth_[door.hop / 2]}] <= 2) result.emplace_back(d);
  }
  return result;
}

std::vector<Hop> Routes::hops(DeviceId from, DeviceId to) const {
  const Door& out = doors_[from.index()];
  const Door& in = doors_[to.index()];
  std::vector<Hop> result;
  if (in.hop != kNone) result.push_back(hop_of(in.hop ^ 1U));
  if (out.vertex != in.vertex) {
    const Tree& routes = tree(out.vertex);
    for (Vertex vertex = in.vertex; vertex != out.vertex; vertex = from_[routes[vertex].last]) {
      result.push_back(hop_of(routes[vertex].last));
    }
  }
  if (out.hop != kNone) result.push_back(hop_of(out.hop));
  std::reverse(result.begin(), result.end());
  return result;
}

}  // namespace opweave::detail
