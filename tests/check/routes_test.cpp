// Routes as docs/formats.md defines them, against the enumeration of all of them: of what plans are made from, and of
// what judges them.
#include "check/routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <tuple>

#include "opweave/problem.h"

namespace opweave {
namespace {

using ::testing::ElementsAre;

ClusterParts cluster_of(std::size_t devices, std::vector<std::string> switches, std::vector<Link> links) {
  ClusterParts parts;
  for (std::size_t d = 0; d < devices; ++d) parts.devices.push_back({"d" + std::to_string(d), "", {}, {"compute"}});
  parts.switches = std::move(switches);
  parts.links = std::move(links);
  return parts;
}

/// Positions in the file of the links on the route.
std::vector<std::size_t> route_of(const Cluster& cluster, std::size_t from, std::size_t to) {
  std::vector<std::size_t> links;
  const auto route = cluster.route(DeviceId(from), DeviceId(to));
  if (!route) return links;
  for (const Hop& hop : route->hops) links.push_back(hop.link.index());
  return links;
}

/// A plan of one operator on d0 whose output is sent along each pair, and the passages that check finds for it.
struct Checked {
  ComputationGraph graph;
  Plan plan;
  checking::ViolationList findings{1};
  checking::Reading reading;
  checking::Routes routes;

  explicit Checked(const Cluster& cluster)
      : graph(ComputationGraph::create("g", {producer()}, {{"t", Bytes(7), {}, {}}}, {})),
        plan(plan_for(cluster)),
        reading(graph, cluster, plan, findings),
        routes(reading) {}

  [[nodiscard]] const checking::Passage* passage(const Cluster& cluster, std::size_t from, std::size_t to) const {
    return routes.of(reading.transfers()[from * cluster.device_count() + to]);
  }
  [[nodiscard]] std::vector<std::size_t> links(const Cluster& cluster, std::size_t from, std::size_t to) const {
    std::vector<std::size_t> result;
    if (const auto* found = passage(cluster, from, to)) {
      for (const std::uint64_t key : found->links) result.push_back(key / 2);
    }
    return result;
  }

 private:
  static Operator producer() {
    Operator op;
    op.name = "a";
    op.durations = {{"", Duration(1)}};
    op.outputs = {TensorId(0)};
    return op;
  }
  static Plan plan_for(const Cluster& cluster) {
    Plan plan;
    plan.tasks = {{OperatorId(0), 0, {DeviceId(0)}, Duration(0), Duration(1)}};
    for (std::size_t a = 0; a < cluster.device_count(); ++a) {
      for (std::size_t b = 0; b < cluster.device_count(); ++b) {
        plan.transfers.push_back({TensorId(0), 0, DeviceId(a), DeviceId(b), Duration(1), Duration(2)});
      }
    }
    return plan;
  }
};

// Two ways of two links and 10 ns each: through y by links 0 and 3, through x by links 1 and 2. From d0 the first links
// are 0 and 1: through y. From d1 they are 3 and 2: through x.
TEST(Routes, of_equal_ways_the_one_with_the_links_named_first_is_taken_seen_from_the_sender) {
  const Cluster cluster = Cluster::create(cluster_of(2, {"x", "y"},
                                                     {{"l0", "d0", "y", Duration(5), {}, true},
                                                      {"l1", "d0", "x", Duration(5), {}, true},
                                                      {"l2", "x", "d1", Duration(5), {}, true},
                                                      {"l3", "y", "d1", Duration(5), {}, true}}));
  EXPECT_THAT(route_of(cluster, 0, 1), ElementsAre(0, 3));
  EXPECT_THAT(route_of(cluster, 1, 0), ElementsAre(2, 1));
  const Checked checked(cluster);
  EXPECT_THAT(checked.links(cluster, 0, 1), ElementsAre(0, 3));
  EXPECT_THAT(checked.links(cluster, 1, 0), ElementsAre(2, 1));
}

// The ways of two links to s are d0-x-s (links 3, 1; 1 + 9 ns) and d0-y-s (links 2, 4; 9 + 1 ns): equal, so link 2 goes
// before link 3, although x is nearer than y and its second link is named earlier.
TEST(Routes, the_first_link_in_which_ways_differ_decides_whatever_their_latencies_are) {
  const Cluster cluster = Cluster::create(cluster_of(2, {"x", "y", "s"},
                                                     {{"l0", "s", "d1", Duration(1), {}, true},
                                                      {"l1", "x", "s", Duration(9), {}, true},
                                                      {"l2", "d0", "y", Duration(9), {}, true},
                                                      {"l3", "d0", "x", Duration(1), {}, true},
                                                      {"l4", "y", "s", Duration(1), {}, true}}));
  EXPECT_THAT(route_of(cluster, 0, 1), ElementsAre(2, 4, 0));
  EXPECT_THAT(Checked(cluster).links(cluster, 0, 1), ElementsAre(2, 4, 0));
}

// Between two links side by side the first is taken, even if the other is faster: bandwidth is not compared.
TEST(Routes, of_links_side_by_side_the_first_is_taken) {
  const Cluster cluster = Cluster::create(
      cluster_of(2, {}, {{"slow", "d1", "d0", Duration(5), 1'000, true}, {"fast", "d0", "d1", Duration(5), {}, true}}));
  EXPECT_THAT(route_of(cluster, 0, 1), ElementsAre(0));
  EXPECT_EQ(cluster.transfer_time(Bytes(7), DeviceId(0), DeviceId(1)), Duration(7'000'005));
  const Checked checked(cluster);
  EXPECT_THAT(checked.passage(cluster, 0, 1)->links, ElementsAre(1));  // backward, of a full-duplex link
  EXPECT_TRUE(checked.passage(cluster, 0, 1)->lasts(Bytes(7)) == 7'000'005);
}

/// Latency, number of links, links: what the document compares, in its order.
using Compared = std::tuple<std::int64_t, std::size_t, std::vector<std::size_t>>;

/// The least of all ways without a circle.
std::optional<Compared> least(const ClusterParts& parts, const std::string& from, const std::string& to,
                              std::vector<std::string> seen = {}) {
  if (from == to) return Compared();
  std::optional<Compared> best;
  seen.push_back(from);
  for (std::size_t i = 0; i < parts.links.size(); ++i) {
    const Link& link = parts.links[i];
    if (link.a != from && link.b != from) continue;
    const std::string& next = link.a == from ? link.b : link.a;
    if (std::ranges::find(seen, next) != seen.end()) continue;
    auto rest = least(parts, next, to, seen);
    if (!rest) continue;
    auto& [latency, count, links] = *rest;
    latency += link.latency.value();
    ++count;
    links.insert(links.begin(), i);
    if (!best || *rest < *best) best = rest;
  }
  return best;
}

TEST(Routes, equal_the_least_of_all_ways_in_random_clusters_full_of_ties) {
  std::mt19937_64 random(1);
  const auto below = [&](std::uint64_t limit) { return static_cast<std::size_t>(random() % limit); };
  for (int round = 0; round < 300; ++round) {
    const std::size_t devices = 2 + below(3);
    ClusterParts parts = cluster_of(devices, {"x", "y", "z"}, {});
    std::vector<std::string> vertices = parts.switches;
    for (const Device& device : parts.devices) vertices.push_back(device.name);
    for (std::size_t i = 0, count = 2 + below(9); i < count; ++i) {
      const std::string& a = vertices[below(vertices.size())];
      const std::string& b = vertices[below(vertices.size())];
      const auto bandwidth = std::optional<std::int64_t>(1'000'000'000 * static_cast<std::int64_t>(1 + below(3)));
      const auto latency = Duration(static_cast<std::int64_t>(below(3)));
      if (a != b) parts.links.push_back({"l" + std::to_string(i), a, b, latency, bandwidth, below(2) == 0});
    }
    if (below(2) == 0) parts.default_link = Link{"", "", "", Duration(40), 1'000'000'000, true};
    const Cluster cluster = Cluster::create(parts);
    const Checked checked(cluster);
    for (std::size_t a = 0; a < devices; ++a) {
      for (std::size_t b = 0; b < devices; ++b) {
        if (a == b) continue;
        const auto* passage = checked.passage(cluster, a, b);
        const auto time = cluster.transfer_time(Bytes(7), DeviceId(a), DeviceId(b));
        ASSERT_EQ(passage != nullptr, time.has_value());
        if (passage != nullptr) {
          EXPECT_TRUE(passage->lasts(Bytes(7)) == time->value());
          EXPECT_EQ(passage->links, cluster.channels(DeviceId(a), DeviceId(b), Contention::kLink));
        }
        const auto expected = least(parts, parts.devices[a].name, parts.devices[b].name);
        if (!expected) continue;
        const auto& [latency, count, links] = *expected;
        EXPECT_EQ(cluster.route(DeviceId(a), DeviceId(b))->latency, Duration(latency));
        EXPECT_EQ(route_of(cluster, a, b), links);
        EXPECT_TRUE(passage->latency == latency);
        EXPECT_EQ(checked.links(cluster, a, b), links);
      }
    }
  }
}

// From one device only: what is stored grows with the pairs between which the plan sends.
TEST(Routes, between_devices_that_exchange_nothing_are_not_looked_for) {
  const Cluster cluster = Cluster::create(cluster_of(2, {}, {{"l", "d0", "d1", Duration(5), {}, true}}));
  Checked checked(cluster);
  Plan silent;
  silent.tasks = checked.plan.tasks;
  const checking::Reading reading(checked.graph, cluster, silent, checked.findings);
  EXPECT_EQ(checking::Routes(reading).of(checked.reading.transfers()[1]), nullptr);
}

}  // namespace
}  // namespace opweave
