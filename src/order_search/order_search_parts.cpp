#include "order_search/order_search_parts.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "core/union_find.h"

namespace opweave::order_search {
namespace {

/// Nodes of each part, ascending; parts by their first node.
std::vector<std::vector<Node>> separate(const Network& network) {
  const std::size_t resources = network.node_count;
  const std::size_t pools = resources + network.resource_count;
  UnionFind connected(pools + network.pools.size());
  for (Node node = 0; node < network.node_count; ++node) {
    for (const Node before : network.predecessors[node]) connected.join(node, before);
    for (const std::uint32_t resource : network.resources[node]) connected.join(node, resources + resource);
    for (const Claim& claim : network.claims[node]) connected.join(node, pools + claim.pool);
    for (const std::uint32_t holding : network.used[node]) {
      connected.join(node, pools + network.holdings[holding].pool);
    }
  }
  std::vector<std::size_t> part_of(pools + network.pools.size(), kNone);
  std::vector<std::vector<Node>> parts;
  for (Node node = 0; node < network.node_count; ++node) {
    std::size_t& part = part_of[connected.find(node)];
    if (part == kNone) {
      part = parts.size();
      parts.emplace_back();
    }
    parts[part].push_back(node);
  }
  return parts;
}

/// A one-to-one relation between two sets of numbers, as far as it is known.
class Relation {
 public:
  explicit Relation(std::size_t count) : to_(count, kNone), from_(count, kNone) {}

  /// False if either is already related to something else.
  bool relate(std::uint32_t a, std::uint32_t b) {
    if (to_[a] == kNone && from_[b] == kNone) {
      to_[a] = b;
      from_[b] = a;
    }
    return to_[a] == b && from_[b] == a;
  }

 private:
  std::vector<std::uint32_t> to_;
  std::vector<std::uint32_t> from_;
};

/// Whether the i-th nodes of two parts correspond.
class Comparison {
 public:
  explicit Comparison(const Network& network)
      : network_(network),
        nodes_(network.node_count),
        resources_(network.resource_count),
        pools_(network.pools.size()),
        holdings_(network.holdings.size()) {}

  bool are_equal(const std::vector<Node>& a, const std::vector<Node>& b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (!nodes_.relate(a[i], b[i])) return false;
    }
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (!correspond(a[i], b[i])) return false;
    }
    return true;
  }

 private:
  bool correspond(Node a, Node b) {
    const Network& n = network_;
    return n.duration[a] == n.duration[b] && n.fills_gaps[a] == n.fills_gaps[b] &&
           std::ranges::equal(n.predecessors[a], n.predecessors[b],
                              [&](Node x, Node y) { return nodes_.relate(x, y); }) &&
           std::ranges::equal(n.resources[a], n.resources[b],
                              [&](std::uint32_t x, std::uint32_t y) { return resources_.relate(x, y); }) &&
           claims_correspond(n.claims[a], n.claims[b]) && claims_correspond(n.own_release[a], n.own_release[b]) &&
           std::ranges::equal(n.used[a], n.used[b],
                              [&](std::uint32_t x, std::uint32_t y) { return holdings_correspond(x, y); });
  }

  bool claims_correspond(std::span<const Claim> a, std::span<const Claim> b) {
    return std::ranges::equal(
        a, b, [&](const Claim& x, const Claim& y) { return x.bytes == y.bytes && pools_correspond(x.pool, y.pool); });
  }

  bool pools_correspond(std::uint32_t a, std::uint32_t b) {
    return network_.pools[a].capacity == network_.pools[b].capacity && pools_.relate(a, b);
  }

  bool holdings_correspond(std::uint32_t a, std::uint32_t b) {
    const Holding& x = network_.holdings[a];
    const Holding& y = network_.holdings[b];
    return x.bytes == y.bytes && x.appears_with_first_user == y.appears_with_first_user &&
           (x.maker == kNone) == (y.maker == kNone) && (x.maker == kNone || nodes_.relate(x.maker, y.maker)) &&
           network_.users[a].size() == network_.users[b].size() && pools_correspond(x.pool, y.pool) &&
           holdings_.relate(a, b);
  }

  const Network& network_;
  Relation nodes_;
  Relation resources_;
  Relation pools_;
  Relation holdings_;
};

/// The network of some of the nodes. Resources, pools and holdings keep their numbers; devices that nothing is left on
/// are dropped, since the mean end of the devices counts.
Network restricted(const Network& whole, const std::vector<Node>& nodes) {
  Network part;
  std::vector<Node> number(whole.node_count, kNone);
  for (std::size_t i = 0; i < nodes.size(); ++i) number[nodes[i]] = static_cast<Node>(i);
  std::vector<std::uint32_t> device(whole.device_count + 1, kNone);
  const auto device_of = [&](std::uint32_t old) {
    if (old == whole.device_count) return old;  // of no device
    if (device[old] == kNone) device[old] = static_cast<std::uint32_t>(part.device_count++);
    return device[old];
  };
  part.node_count = nodes.size();
  part.resource_count = whole.resource_count;
  part.pools = whole.pools;
  part.holdings = whole.holdings;
  part.copy_count = whole.copy_count;
  part.chunk_count = whole.chunk_count;
  part.twins_count = whole.twins_count;
  std::vector<char> is_used(whole.resource_count, 0);
  const auto copy = [](auto& to, const auto& from) {
    to.items.insert(to.items.end(), from.begin(), from.end());
    to.close_list();
  };
  for (const Node node : nodes) {
    part.duration.push_back(whole.duration[node]);
    part.fills_gaps.push_back(whole.fills_gaps[node]);
    part.activity_of_node.push_back(whole.activity_of_node[node]);
    Label label = whole.labels[node];
    label.device = device_of(label.device);
    part.labels.push_back(label);
    for (const Node before : whole.predecessors[node]) part.predecessors.items.push_back(number[before]);
    part.predecessors.close_list();
    for (const Node later : whole.successors[node]) part.successors.items.push_back(number[later]);
    part.successors.close_list();
    for (const std::uint32_t resource : whole.resources[node]) is_used[resource] = 1;
    copy(part.resources, whole.resources[node]);
    copy(part.claims, whole.claims[node]);
    copy(part.own_release, whole.own_release[node]);
    copy(part.used, whole.used[node]);
  }
  for (std::size_t h = 0; h < whole.holdings.size(); ++h) {
    Holding& holding = part.holdings[h];
    if (holding.maker != kNone) holding.maker = number[holding.maker];
    for (const Node user : whole.users[h]) {
      if (number[user] != kNone) part.users.items.push_back(number[user]);
    }
    part.users.close_list();
  }
  for (const Node node : whole.topological_order) {
    if (number[node] != kNone) part.topological_order.push_back(number[node]);
  }
  part.resource_device = whole.resource_device;
  for (std::size_t r = 0; r < whole.resource_count; ++r) {
    if (is_used[r] != 0) part.resource_device[r] = device_of(whole.resource_device[r]);
  }
  for (std::size_t r = 0; r < whole.resource_count; ++r) {
    const bool has_device = is_used[r] != 0 && whole.resource_device[r] != whole.device_count;
    if (!has_device) part.resource_device[r] = static_cast<std::uint32_t>(part.device_count);
  }
  return part;
}

}  // namespace

std::vector<Time> EqualParts::taken(std::span<const Time> whole) const {
  std::vector<Time> result;
  result.reserve(nodes[model].size());
  for (const Node node : nodes[model]) result.push_back(whole[node]);
  return result;
}

std::vector<Time> EqualParts::spread(std::span<const Time> part_values) const {
  std::vector<Time> result(nodes.size() * nodes[model].size());
  for (const std::vector<Node>& list : nodes) {
    for (std::size_t i = 0; i < list.size(); ++i) result[list[i]] = part_values[i];
  }
  return result;
}

std::optional<EqualParts> equal_parts(const Network& network, std::span<const Time> starts) {
  EqualParts result;
  result.nodes = separate(network);
  if (result.nodes.size() < 2) return std::nullopt;
  Time earliest = std::numeric_limits<Time>::max();
  for (std::size_t p = 0; p < result.nodes.size(); ++p) {
    if (p > 0 && !Comparison(network).are_equal(result.nodes.front(), result.nodes[p])) return std::nullopt;
    Time end = 0;
    for (const Node node : result.nodes[p]) end = std::max(end, starts[node] + network.duration[node]);
    if (end < earliest) {
      earliest = end;
      result.model = p;
    }
  }
  result.part = restricted(network, result.nodes[result.model]);
  return result;
}

}  // namespace opweave::order_search
