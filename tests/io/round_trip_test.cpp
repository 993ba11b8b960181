#include <gtest/gtest.h>

#include <string>

#include "io/random_inputs.h"
#include "opweave/error.h"
#include "opweave/io.h"

namespace opweave::testing {
namespace {

constexpr std::uint64_t kSeeds = 300;

void expect_same(const Operator& a, const Operator& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.kind, b.kind);
  EXPECT_EQ(a.phase, b.phase);
  EXPECT_EQ(a.streams, b.streams);
  ASSERT_EQ(a.durations.size(), b.durations.size());
  for (std::size_t i = 0; i < a.durations.size(); ++i) {
    EXPECT_EQ(a.durations[i].device_type, b.durations[i].device_type);
    EXPECT_EQ(a.durations[i].duration, b.durations[i].duration);
  }
  EXPECT_EQ(a.flops, b.flops);
  EXPECT_EQ(a.bytes_accessed, b.bytes_accessed);
  EXPECT_EQ(a.dtype, b.dtype);
  EXPECT_EQ(a.inputs, b.inputs);
  EXPECT_EQ(a.outputs, b.outputs);
  EXPECT_EQ(a.parameters, b.parameters);
  EXPECT_EQ(a.after, b.after);
  EXPECT_EQ(a.workspace, b.workspace);
  EXPECT_EQ(a.devices, b.devices);
  ASSERT_EQ(a.modes.size(), b.modes.size());
  for (std::size_t i = 0; i < a.modes.size(); ++i) {
    EXPECT_EQ(a.modes[i].devices, b.modes[i].devices);
    EXPECT_EQ(a.modes[i].duration, b.modes[i].duration);
    EXPECT_EQ(a.modes[i].workspace, b.modes[i].workspace);
  }
  EXPECT_EQ(a.colocation, b.colocation);
  EXPECT_EQ(a.anti_colocation, b.anti_colocation);
  EXPECT_EQ(a.stage, b.stage);
  EXPECT_EQ(a.layer, b.layer);
}

TEST(RoundTrip, graph_that_was_written_is_read_as_it_was) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const ComputationGraph graph = RandomInputs(seed).graph();
    const std::string json = graph_to_json(graph);
    const ComputationGraph again = parse_graph(json, "graph.json");
    ASSERT_EQ(graph_to_json(again), json) << "seed " << seed;
    EXPECT_EQ(again.name(), graph.name());
    EXPECT_EQ(again.training(), graph.training());
    ASSERT_EQ(again.operators().size(), graph.operators().size());
    for (std::size_t i = 0; i < graph.operators().size(); ++i) {
      expect_same(graph.operators()[i], again.operators()[i]);
    }
    ASSERT_EQ(again.tensors().size(), graph.tensors().size());
    for (std::size_t i = 0; i < graph.tensors().size(); ++i) {
      EXPECT_EQ(again.tensors()[i].name, graph.tensors()[i].name);
      EXPECT_EQ(again.tensors()[i].size, graph.tensors()[i].size);
      EXPECT_EQ(again.tensors()[i].producer, graph.tensors()[i].producer);
      EXPECT_EQ(again.tensors()[i].consumers, graph.tensors()[i].consumers);
    }
    ASSERT_EQ(again.parameters().size(), graph.parameters().size());
    for (std::size_t i = 0; i < graph.parameters().size(); ++i) {
      EXPECT_EQ(again.parameters()[i].name, graph.parameters()[i].name);
      EXPECT_EQ(again.parameters()[i].weights, graph.parameters()[i].weights);
    }
    EXPECT_EQ(content_hash(again), content_hash(graph));
    if (HasFailure()) FAIL() << "seed " << seed << "\n" << json;
  }
}

void expect_same(const Link& a, const Link& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.a, b.a);
  EXPECT_EQ(a.b, b.b);
  EXPECT_EQ(a.latency, b.latency);
  EXPECT_EQ(a.bandwidth_bytes_per_s, b.bandwidth_bytes_per_s);
  EXPECT_EQ(a.full_duplex, b.full_duplex);
}

TEST(RoundTrip, cluster_that_was_written_is_read_as_it_was) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const Cluster cluster = RandomInputs(seed).cluster();
    const std::string json = cluster_to_json(cluster);
    const Cluster again = parse_cluster(json, "cluster.json");
    ASSERT_EQ(cluster_to_json(again), json) << "seed " << seed;
    const ClusterParts& a = cluster.parts();
    const ClusterParts& b = again.parts();
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.contention, b.contention);
    EXPECT_EQ(a.switches, b.switches);
    ASSERT_EQ(a.types.size(), b.types.size());
    for (std::size_t i = 0; i < a.types.size(); ++i) {
      EXPECT_EQ(a.types[i].name, b.types[i].name);
      EXPECT_EQ(a.types[i].peak_flops_per_s, b.types[i].peak_flops_per_s);
      EXPECT_EQ(a.types[i].memory_bandwidth_bytes_per_s, b.types[i].memory_bandwidth_bytes_per_s);
    }
    ASSERT_EQ(a.devices.size(), b.devices.size());
    for (std::size_t i = 0; i < a.devices.size(); ++i) {
      EXPECT_EQ(a.devices[i].name, b.devices[i].name);
      EXPECT_EQ(a.devices[i].type, b.devices[i].type);
      EXPECT_EQ(a.devices[i].memory, b.devices[i].memory);
      EXPECT_EQ(a.devices[i].streams, b.devices[i].streams);
    }
    ASSERT_EQ(a.links.size(), b.links.size());
    for (std::size_t i = 0; i < a.links.size(); ++i) expect_same(a.links[i], b.links[i]);
    ASSERT_EQ(a.default_link.has_value(), b.default_link.has_value());
    if (a.default_link) expect_same(*a.default_link, *b.default_link);
    EXPECT_EQ(content_hash(again), content_hash(cluster));
    if (HasFailure()) FAIL() << "seed " << seed << "\n" << json;
  }
}

void expect_same(const DeviceStatistics& a, const DeviceStatistics& b) {
  EXPECT_EQ(a.compute_busy, b.compute_busy);
  EXPECT_EQ(a.bubble, b.bubble);
  EXPECT_EQ(a.span_idle, b.span_idle);
  EXPECT_EQ(a.peak_memory, b.peak_memory);
  EXPECT_EQ(a.persistent_memory, b.persistent_memory);
  EXPECT_EQ(a.bytes_sent, b.bytes_sent);
  EXPECT_EQ(a.bytes_received, b.bytes_received);
}

void expect_same(const Plan& a, const Plan& b) {
  EXPECT_EQ(a.graph_name, b.graph_name);
  EXPECT_EQ(a.cluster_name, b.cluster_name);
  EXPECT_EQ(a.settings, b.settings);
  EXPECT_EQ(a.status, b.status);
  ASSERT_EQ(a.tasks.size(), b.tasks.size());
  for (std::size_t i = 0; i < a.tasks.size(); ++i) {
    EXPECT_EQ(a.tasks[i].op, b.tasks[i].op);
    EXPECT_EQ(a.tasks[i].copy, b.tasks[i].copy);
    EXPECT_EQ(a.tasks[i].devices, b.tasks[i].devices);
    EXPECT_EQ(a.tasks[i].start, b.tasks[i].start);
    EXPECT_EQ(a.tasks[i].end, b.tasks[i].end);
  }
  ASSERT_EQ(a.transfers.size(), b.transfers.size());
  for (std::size_t i = 0; i < a.transfers.size(); ++i) {
    EXPECT_EQ(a.transfers[i].tensor, b.transfers[i].tensor);
    EXPECT_EQ(a.transfers[i].copy, b.transfers[i].copy);
    EXPECT_EQ(a.transfers[i].source, b.transfers[i].source);
    EXPECT_EQ(a.transfers[i].destination, b.transfers[i].destination);
    EXPECT_EQ(a.transfers[i].start, b.transfers[i].start);
    EXPECT_EQ(a.transfers[i].end, b.transfers[i].end);
  }
  EXPECT_EQ(a.statistics.makespan, b.statistics.makespan);
  EXPECT_EQ(a.statistics.period, b.statistics.period);
  EXPECT_EQ(a.statistics.bubble_ratio, b.statistics.bubble_ratio);
  EXPECT_EQ(a.statistics.utilisation, b.statistics.utilisation);
  EXPECT_EQ(a.statistics.bytes_moved, b.statistics.bytes_moved);
  EXPECT_EQ(a.statistics.parameter_copies, b.statistics.parameter_copies);
  ASSERT_EQ(a.statistics.devices.size(), b.statistics.devices.size());
  for (std::size_t i = 0; i < a.statistics.devices.size(); ++i) {
    expect_same(a.statistics.devices[i], b.statistics.devices[i]);
  }
  ASSERT_EQ(a.bounds.size(), b.bounds.size());
  for (std::size_t i = 0; i < a.bounds.size(); ++i) {
    EXPECT_EQ(a.bounds[i].name, b.bounds[i].name);
    EXPECT_EQ(a.bounds[i].value, b.bounds[i].value);
    EXPECT_EQ(a.bounds[i].detail, b.bounds[i].detail);
  }
  EXPECT_EQ(a.provenance.version, b.provenance.version);
  EXPECT_EQ(a.provenance.method, b.provenance.method);
  EXPECT_EQ(a.provenance.seed, b.provenance.seed);
  EXPECT_EQ(a.provenance.limit, b.provenance.limit);
  EXPECT_EQ(a.provenance.graph_hash, b.provenance.graph_hash);
  EXPECT_EQ(a.provenance.cluster_hash, b.provenance.cluster_hash);
  EXPECT_EQ(a.provenance.command, b.provenance.command);
  EXPECT_EQ(a.provenance.seconds, b.provenance.seconds);
  ASSERT_EQ(a.provenance.trajectory.size(), b.provenance.trajectory.size());
  for (std::size_t i = 0; i < a.provenance.trajectory.size(); ++i) {
    EXPECT_EQ(a.provenance.trajectory[i].seconds, b.provenance.trajectory[i].seconds);
    EXPECT_EQ(a.provenance.trajectory[i].makespan, b.provenance.trajectory[i].makespan);
    EXPECT_EQ(a.provenance.trajectory[i].method, b.provenance.trajectory[i].method);
  }
}

TEST(RoundTrip, plan_that_was_written_is_read_as_it_was) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    RandomInputs random(seed);
    const ComputationGraph graph = random.graph();
    const Cluster cluster = random.cluster();
    const Plan plan = random.plan(graph, cluster);
    const std::string json = plan_to_json(plan, graph, cluster);
    const Plan again = parse_plan(json, "plan.json", graph, cluster);
    ASSERT_EQ(plan_to_json(again, graph, cluster), json) << "seed " << seed;
    expect_same(plan, again);
    if (HasFailure()) FAIL() << "seed " << seed << "\n" << json;
  }
}

TEST(RoundTrip, bytes_that_are_not_utf8_are_replaced_so_that_the_file_can_be_read) {
  Operator op;
  op.name = "a\xFF\xC0\x80z";
  op.durations = {{"", Duration(1)}};
  const ComputationGraph graph = ComputationGraph::create("g", {op}, {}, {});
  EXPECT_EQ(parse_graph(graph_to_json(graph), "g").operators()[0].name, "a\uFFFD\uFFFD\uFFFDz");
}

/// FNV-1a with 64 bits over what graph_to_json writes, as docs/formats.md promises to other programs.
TEST(ContentHash, is_fnv1a_of_the_canonical_json) {
  const ComputationGraph graph = RandomInputs(7).graph();
  std::uint64_t hash = 14695981039346656037U;
  for (const char c : graph_to_json(graph)) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 1099511628211U;
  }
  char expected[17];
  std::snprintf(expected, sizeof expected, "%016llx", static_cast<unsigned long long>(hash));
  EXPECT_EQ(content_hash(graph), expected);
}

TEST(ContentHash, differs_where_the_content_does_and_only_there) {
  const std::string tail = R"("operators": [{"name": "a", "duration_ns": 1}]})";
  const std::string head = R"({"format": "opweave.graph", "version": 1, )";
  const std::string hash = content_hash(parse_graph(head + tail, "a"));
  EXPECT_EQ(hash, content_hash(parse_graph("  " + head + R"("name": "", "tensors": [],)" + tail, "b")));
  EXPECT_NE(hash, content_hash(parse_graph(head + R"("name": "g",)" + tail, "c")));
}

}  // namespace
}  // namespace opweave::testing
