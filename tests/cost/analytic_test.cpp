// Durations from operations and bytes. On the invented device every share is 1/2, and a kernel costs 1000 ns.
#include "opweave/analytic.h"

#include <gtest/gtest.h>

#include "opweave/error.h"
#include "opweave/io.h"

namespace opweave {
namespace {

constexpr const char* kCluster = R"({"format": "opweave.cluster", "version": 1,
  "device_types": [{"name": "t", "peak_flops_per_s": {"bf16": 1e14, "fp32": 1e13},
                    "memory_bandwidth_bytes_per_s": 1e12}],
  "devices": [{"name": "d", "type": "t"}]})";

/// A graph of "a" (products 0 and attention 1), "b" (1e9 bytes, a kernel with the last call of "a") and "o"
/// (optimizer).
std::string captured(
    const std::string& attention = R"("attention": {"tokens": 8192, "causal": true, "backward": false},)",
    const std::string& part = "2") {
  return R"({"format": "opweave.graph", "version": 1, "operators": [
    {"name": "a", "flops": 3e12, "bytes_accessed": 3e9}, {"name": "b", "bytes_accessed": 1e9},
    {"name": "o", "phase": "O", "flops": 1e6, "bytes_accessed": 2e9}, {"name": "known", "duration_ns": 7}],
    "captured": {"calls": [
      {"call": "p", "signature": "aten.mm", "flops": 1e12, "bytes": 1e9, "dtype": "bf16"},
      {"call": "s", "signature": "aten._scaled_dot_product_flash", )" +
         attention + R"( "flops": 2e12, "bytes": 1e9, "dtype": "bf16"},
      {"call": "e", "signature": "aten.add", "flops": 0, "bytes": 1e9, "dtype": "bf16"}],
      "operators": {"a": [0, 1, 2], "b": [2]}, "kernels": [[["a", )" +
         part + R"(, 1e8], ["b", 0, 3e8]]]}})";
}

analytic::Options halves() {
  const analytic::Curve half = {{{1.0, 0.5}}};
  analytic::Options options;
  options.efficiencies["t"] = {half, half, half, half, 0.5, 1000};
  return options;
}

std::vector<std::int64_t> times(const std::string& graph, const analytic::Options& options) {
  const CapturedGraph read = parse_captured_graph(graph, "graph.json");
  const Cluster cluster = parse_cluster(kCluster, "cluster.json");
  std::vector<std::int64_t> result;
  for (const auto& found :
       analytic::durations(read.graph, read.calls.value_or(analytic::CapturedCalls()), cluster, options)) {
    result.push_back(found.empty() ? -1 : found.front().duration.value());
  }
  return result;
}

std::string error_of(const std::string& graph) {
  try {
    (void)parse_graph(graph, "graph.json", parse_cluster(kCluster, "cluster.json"));
  } catch (const InputError& error) {
    return error.what();
  }
  return "none";
}

// Product: 1e12 / 0.5e14 s = 20 ms. Causal attention: half of 2e12, 20 ms. The kernel of 4e8 bytes at 0.5e12 per s
// takes 800 us and 1 us, of which "a" has a quarter. Optimizer: 2e9 bytes, 4 ms. Alone, 1e9 bytes take 2 ms.
TEST(Analytic, operators_last_as_long_as_their_calls) {
  EXPECT_EQ(times(captured(), halves()), (std::vector<std::int64_t>{40'202'250, 600'750, 4'001'000, -1}));
  analytic::Options alone = halves();
  alone.fused = false;
  EXPECT_EQ(times(captured(), alone), (std::vector<std::int64_t>{42'003'000, 2'001'000, 4'001'000, -1}));
}

// In fp32 1e12 operations take 200 ms; as bf16 20 ms, and half of the bytes.
TEST(Analytic, another_dtype_replaces_fp32) {
  const std::string graph = R"({"format": "opweave.graph", "version": 1, "operators": [
    {"name": "a", "flops": 1e12, "dtype": "fp32"}, {"name": "b", "bytes_accessed": 1e9, "dtype": "fp32"}]})";
  EXPECT_EQ(times(graph, halves()), (std::vector<std::int64_t>{200'001'000, 2'001'000}));
  analytic::Options narrow = halves();
  narrow.dtype = "bf16";
  EXPECT_EQ(times(graph, narrow), (std::vector<std::int64_t>{20'001'000, 1'001'000}));
}

TEST(Analytic, only_captured_graphs_are_estimated_where_they_are_read) {
  const Cluster cluster = parse_cluster(kCluster, "cluster.json");
  const EstimatedGraph estimated = parse_graph(captured(), "graph.json", cluster);
  EXPECT_EQ(estimated.estimated, 3U);
  EXPECT_EQ(estimated.graph.operators()[0].durations.front().device_type, "t");
  EXPECT_EQ(estimated.graph.operators()[3].durations.front().duration, Duration(7));
  const std::string plain = captured().substr(0, captured().find("\"captured\""));
  const std::string rest = plain.substr(0, plain.rfind(',')) + "}";
  EXPECT_EQ(parse_graph(rest, "graph.json", cluster).estimated, 0U);
  EXPECT_TRUE(parse_graph(rest, "graph.json", cluster).graph.operators()[0].durations.empty());
}

TEST(Analytic, calls_that_capture_did_not_write_are_named) {
  EXPECT_EQ(error_of(captured("")), "graph.json: /captured/calls/1: key \"attention\" is missing");
  EXPECT_EQ(error_of(captured(R"("attention": {"tokens": 1, "causal": true, "backward": false},)", "3")),
            "graph.json: /captured/kernels/0/0: the operator has no call 3");
  std::string changed = captured();
  changed.replace(changed.find("\"flops\": 3e12"), 13, "\"flops\": 4e12");
  EXPECT_EQ(error_of(changed),
            "graph.json: /captured/operators/a: the calls of \"a\" add up to flops 3e+12, the operator has 4e+12");
}

TEST(Analytic, curves_are_linear_in_the_logarithm_and_constant_outside) {
  const analytic::Curve curve = {{{1e6, 0.2}, {1e8, 0.8}}};
  EXPECT_DOUBLE_EQ(curve.at(1), 0.2);
  EXPECT_DOUBLE_EQ(curve.at(1e7), 0.5);
  EXPECT_DOUBLE_EQ(curve.at(1e8), 0.8);
  EXPECT_DOUBLE_EQ(curve.at(1e9), 0.8);
}

}  // namespace
}  // namespace opweave
