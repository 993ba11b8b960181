#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "opweave/cluster.h"
#include "opweave/error.h"

namespace opweave {
namespace {

ClusterParts devices(std::size_t count) {
  ClusterParts parts;
  for (std::size_t d = 0; d < count; ++d) parts.devices.push_back({"d" + std::to_string(d), "", {}, {"compute"}});
  return parts;
}

void join(ClusterParts& parts, const std::string& a, const std::string& b, std::int64_t latency,
          std::optional<std::int64_t> bandwidth = {}) {
  parts.links.push_back({"l" + std::to_string(parts.links.size()), a, b, Duration(latency), bandwidth, true});
}

std::vector<std::size_t> links_of(const Cluster& cluster, std::size_t from, std::size_t to) {
  std::vector<std::size_t> links;
  const std::optional<Route> route = cluster.route(DeviceId(from), DeviceId(to));
  for (const Hop& hop : route->hops) links.push_back(hop.link.index());
  return links;
}

// d0 to d1 over x and y: links 2, 0; over z: links 1, 3. Both take 20 ns and two links, so the first link decides:
// 1 is named before 2. Backwards 0, 2 against 3, 1: 0 is named first.
TEST(ClusterRoutes, of_equal_routes_the_one_whose_links_are_named_first_is_taken) {
  ClusterParts parts = devices(2);
  parts.switches = {"x", "z"};
  join(parts, "x", "d1", 10);
  join(parts, "d0", "z", 10);
  join(parts, "d0", "x", 10);
  join(parts, "z", "d1", 10);
  const Cluster cluster = Cluster::create(parts);
  EXPECT_EQ(links_of(cluster, 0, 1), (std::vector<std::size_t>{1, 3}));
  EXPECT_EQ(links_of(cluster, 1, 0), (std::vector<std::size_t>{0, 2}));
}

// The two ways over three links begin with links 1 and 0, although the way that begins with 0 is met later: its middle
// is slower and its end faster, 10 + 30 + 10 against 10 + 10 + 30.
TEST(ClusterRoutes, the_first_links_decide_before_the_last_whatever_is_met_first) {
  ClusterParts parts = devices(2);
  parts.switches = {"a", "b", "p", "q"};
  join(parts, "d0", "p", 10);  // 0
  join(parts, "d0", "a", 10);  // 1
  join(parts, "a", "b", 10);   // 2
  join(parts, "b", "d1", 30);  // 3
  join(parts, "p", "q", 30);   // 4
  join(parts, "q", "d1", 10);  // 5
  const Cluster cluster = Cluster::create(parts);
  EXPECT_EQ(links_of(cluster, 0, 1), (std::vector<std::size_t>{0, 4, 5}));
}

/// Every way without a repeated vertex; the best by latency, links, and their order.
struct Ways {
  const ClusterParts& parts;
  std::string target;
  using Key = std::tuple<std::int64_t, std::size_t, std::vector<std::size_t>>;
  std::optional<Key> best = {};

  void walk(const std::string& at, std::set<std::string>& seen, std::vector<std::size_t>& links, std::int64_t latency) {
    if (at == target) {
      const Key key{latency, links.size(), links};
      if (!best || key < *best) best = key;
      return;
    }
    for (std::size_t l = 0; l < parts.links.size(); ++l) {
      const Link& link = parts.links[l];
      if (link.a != at && link.b != at) continue;
      const std::string& next = link.a == at ? link.b : link.a;
      if (!seen.insert(next).second) continue;
      links.push_back(l);
      walk(next, seen, links, latency + link.latency.value());
      links.pop_back();
      seen.erase(next);
    }
  }
};

TEST(ClusterRoutes, are_those_of_enumeration_on_random_clusters) {
  std::mt19937 dice(1);
  const auto draw = [&](std::size_t below) { return std::uniform_int_distribution<std::size_t>(0, below - 1)(dice); };
  for (int sample = 0; sample < 150; ++sample) {
    ClusterParts parts = devices(2 + draw(4));
    for (std::size_t s = draw(4); s > 0; --s) parts.switches.push_back("s" + std::to_string(s));
    std::vector<std::string> names = parts.switches;
    for (const Device& device : parts.devices) names.push_back(device.name);
    for (std::size_t l = 1 + draw(10); l > 0; --l) {
      const std::string a = names[draw(names.size())];
      const std::string b = names[draw(names.size())];
      // Few latencies, so that ties are many; parallel links too.
      if (a != b) join(parts, a, b, static_cast<std::int64_t>(draw(3)), static_cast<std::int64_t>(1 + draw(3)));
    }
    const Cluster cluster = Cluster::create(parts);
    for (std::size_t from = 0; from < parts.devices.size(); ++from) {
      for (std::size_t to = 0; to < parts.devices.size(); ++to) {
        if (from == to) continue;
        Ways ways{parts, parts.devices[to].name};
        std::set<std::string> seen = {parts.devices[from].name};
        std::vector<std::size_t> links;
        ways.walk(parts.devices[from].name, seen, links, 0);
        const auto route = cluster.route(DeviceId(from), DeviceId(to));
        ASSERT_EQ(route.has_value(), ways.best.has_value()) << sample;
        if (!route) continue;
        const auto& [latency, count, expected] = *ways.best;
        EXPECT_EQ(route->latency, Duration(latency)) << sample;
        EXPECT_EQ(links_of(cluster, from, to), expected) << sample;
        std::int64_t slowest = 9;
        std::string at = parts.devices[from].name;
        for (const Hop& hop : route->hops) {
          const Link& link = parts.links[hop.link.index()];
          slowest = std::min(slowest, *link.bandwidth_bytes_per_s);
          EXPECT_EQ(hop.forward ? link.a : link.b, at) << sample;
          at = hop.forward ? link.b : link.a;
        }
        EXPECT_EQ(route->bandwidth_bytes_per_s, slowest) << sample;
        // No route is faster than the fastest way, whatever is sent.
        for (const std::int64_t bytes : {0, 1, 1000}) {
          const auto time = cluster.transfer_time(Bytes(bytes), DeviceId(from), DeviceId(to));
          EXPECT_LE(FastestWay(cluster).time(Bytes(bytes)), time) << sample;
        }
      }
    }
  }
}

// A ring of 4096: half way round are 2048 links of 500 ns. All routes hop by hop would be 4096 x 4095 x 1024 hops.
TEST(ClusterRoutes, of_a_large_ring_are_found_one_by_one) {
  ClusterParts parts = devices(4096);
  for (std::size_t d = 0; d < 4096; ++d) {
    join(parts, "d" + std::to_string(d), "d" + std::to_string((d + 1) % 4096), 500);
  }
  const Cluster cluster = Cluster::create(parts);
  EXPECT_EQ(cluster.rate(DeviceId(0), DeviceId(2048))->latency, Duration(2048 * 500));
  EXPECT_EQ(cluster.route(DeviceId(4095), DeviceId(1))->hops.size(), 2U);
  EXPECT_EQ(cluster.common_rate(), std::nullopt);
  EXPECT_EQ(FastestWay(cluster).time(Bytes(1)), Duration(500));
}

// Every device hangs on one switch, so all routes are 2 x 500 ns; 10^10 pairs are not looked at.
TEST(ClusterRoutes, of_devices_on_one_switch_take_no_memory_per_pair) {
  ClusterParts parts = devices(100'000);
  parts.switches = {"s"};
  for (std::size_t d = 0; d < 100'000; ++d) join(parts, "d" + std::to_string(d), "s", 500, 1'000'000'000);
  const Cluster cluster = Cluster::create(parts);
  EXPECT_EQ(cluster.transfer_time(Bytes(7), DeviceId(3), DeviceId(99'999)), Duration(1007));
  EXPECT_EQ(cluster.common_rate(), (Rate{Duration(1000), 1'000'000'000}));
  EXPECT_EQ(FastestWay(cluster).time(Bytes(7)), Duration(1007));
}

// One link of another kind tells two devices from the rest.
TEST(ClusterRoutes, one_slower_link_makes_routes_differ) {
  ClusterParts parts = devices(5);
  parts.switches = {"s"};
  for (std::size_t d = 0; d < 5; ++d) join(parts, "d" + std::to_string(d), "s", d == 4 ? 501 : 500);
  EXPECT_EQ(Cluster::create(parts).common_rate(), std::nullopt);
}

// 30,000 devices in a ring: a tree of 30,000 steps of 16 bytes for each, 14.4 GB.
TEST(ClusterRoutes, that_would_take_too_much_memory_are_refused_with_the_number) {
  ClusterParts parts = devices(30'000);
  for (std::size_t d = 0; d < 30'000; ++d) {
    join(parts, "d" + std::to_string(d), "d" + std::to_string((d + 1) % 30'000), 500);
  }
  try {
    (void)Cluster::create(parts);
    FAIL();
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(), "routes between 30000 devices and switches take 14.4 GB, expected at most 8.0 GB");
  }
}

}  // namespace
}  // namespace opweave
