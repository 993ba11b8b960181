#include "opweave/msr.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "io/msr_ideals.h"
#include "opweave/error.h"
#include "opweave/problem.h"
#include "support/data_dir.h"

namespace opweave::testing {
namespace {

using nlohmann::json;

/// Three nodes 4 -> 7 -> 9 and 4 -> 9; two accelerators of 100 bytes, one CPU.
MsrInstance small_instance() {
  return parse_msr(R"({"maxSizePerFPGA": 100, "maxFPGAs": 2, "maxCPUs": 1, "comment": "ignored",
    "nodes": [
      {"id": 4, "supportedOnFpga": true, "cpuLatency": 10, "fpgaLatency": 1, "isBackwardNode": 0, "size": 60},
      {"id": 7, "supportedOnFpga": 1, "cpuLatency": 20, "fpgaLatency": 2, "isBackwardNode": false, "size": 50},
      {"id": 9, "supportedOnFpga": 0, "cpuLatency": 30, "fpgaLatency": 3, "isBackwardNode": 0, "colorClass": 1, "layerId": 3}],
    "edges": [
      {"sourceId": 4, "destId": 7, "cost": 0.5, "size": 8}, {"sourceId": 4, "destId": 9, "cost": 0.5},
      {"sourceId": 4, "destId": 7, "cost": 0.5}, {"sourceId": 7, "destId": 9, "cost": 0.25}]})",
                   "small");
}

TEST(Msr, reader_merges_repeated_edges_and_ignores_labels) {
  const MsrInstance instance = small_instance();
  EXPECT_EQ(instance.successors, (std::vector<std::vector<std::uint32_t>>{{1, 2}, {2}, {}}));
  EXPECT_EQ(instance.nodes[0].output_ms, 0.5);
  EXPECT_EQ(instance.nodes[2].size_bytes, 0);
  EXPECT_EQ(instance.nodes[2].color_class, 1);
  EXPECT_FALSE(instance.nodes[0].color_class.has_value());
  EXPECT_FALSE(instance.nodes[2].accelerator_supported);
}

TEST(Msr, max_load_counts_an_output_once_per_reading_accelerator_and_nothing_on_cpus) {
  const MsrInstance instance = small_instance();
  // acc0: 1 + its output 0.5; acc1: 2 + input 0.5 + output 0.25; cpu: 30 without communication.
  EXPECT_DOUBLE_EQ(msr_max_load(instance, {0, 1, 2}), 30);
  MsrInstance all_supported = instance;
  all_supported.nodes[2].accelerator_supported = true;
  // acc0: 1 + 0.5; acc1: 2 + 3 + one input 0.5 although two nodes read it.
  EXPECT_DOUBLE_EQ(msr_max_load(all_supported, {0, 1, 1}), 5.5);
  // cpu: 10; acc0 reads from it and pays for it: 2 + 3 + 0.5.
  EXPECT_DOUBLE_EQ(msr_max_load(all_supported, {2, 0, 0}), 10);
}

TEST(Msr, latency_runs_a_subgraph_as_one_piece) {
  MsrInstance instance = small_instance();
  // acc0 ends at 1 + 0.5; acc1 at 1.5 + 0.5 + 2 + 0.25 = 4.25; the CPU 30 later.
  EXPECT_DOUBLE_EQ(msr_latency(instance, {0, 1, 2}).value(), 34.25);
  instance.nodes[2].accelerator_supported = true;
  // Nodes 4 and 9 on acc0, 7 between them on acc1: neither can go first.
  EXPECT_FALSE(msr_latency(instance, {0, 1, 0}).has_value());
}

TEST(Msr, infeasibility_names_what_is_wrong) {
  const MsrInstance instance = small_instance();
  EXPECT_EQ(msr_infeasibility(instance, {0, 1, 2}), "");
  EXPECT_EQ(msr_infeasibility(instance, {0, 1}), "2 nodes are placed, expected 3");
  EXPECT_EQ(msr_infeasibility(instance, {0, 1, 3}), "node 9 is on device 3, expected 0 to 2");
  EXPECT_EQ(msr_infeasibility(instance, {0, 1, 1}), "node 9 is on accelerator 1, expected a CPU");
  EXPECT_EQ(msr_infeasibility(instance, {1, 1, 2}), "accelerator 1 holds 110 bytes, expected at most 100");
  MsrInstance colored = instance;
  colored.nodes[0].color_class = 1;
  EXPECT_EQ(msr_infeasibility(colored, {0, 1, 2}),
            "nodes 4 and 9 have color class 1, but are on accelerator 0 and CPU 0");
}

TEST(Msr, problem_pays_the_published_cost_at_each_accelerator_end) {
  const ImportedProblem imported = to_problem(small_instance(), "small");
  const Problem problem = Problem::create(imported.graph, imported.cluster);
  ASSERT_EQ(problem.task_count(), 3U);
  const ValueId from_node_4 = problem.outputs(TaskId(0)).front();
  EXPECT_EQ(problem.transfer_time(from_node_4, DeviceId(0), DeviceId(1)), Duration(1'000'000));  // 2 x 0.5 ms
  EXPECT_EQ(problem.transfer_time(from_node_4, DeviceId(0), DeviceId(2)), Duration(500'000));
  EXPECT_EQ(problem.mode_count(TaskId(2)), 1U);  // the node without accelerator support
  EXPECT_EQ(problem.mode(TaskId(2), 0).duration, Duration(30'000'000));
  EXPECT_EQ(problem.capacity(DeviceId(0)), Bytes(100));
  EXPECT_EQ(problem.capacity(DeviceId(2)), std::nullopt);
  EXPECT_EQ(imported.cluster.contention(), Contention::kEndpoint);
}

TEST(Msr, problem_without_cpus_is_impossible_for_nodes_that_need_one) {
  MsrInstance instance = small_instance();
  instance.cpus = 0;
  try {
    (void)to_problem(instance, "small.json");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(), "small.json: node 9 runs on CPUs only, but there are none");
  }
}

// The published suite.

struct Published {
  std::string id;
  json facts;
  MsrInstance instance;
};

std::vector<Published> published() {
  std::vector<Published> all;
  const auto folder = data_dir();
  if (!folder || !std::filesystem::exists(*folder / "msr/results.json")) return all;
  const json results = json::parse(read_file(*folder / "msr/results.json"));
  for (const json& facts : results.at("instances")) {
    const std::filesystem::path path = *folder / "msr" / facts.at("file").get<std::string>();
    all.push_back({facts.at("id"), facts, parse_msr(read_file(path), path.string())});
  }
  return all;
}

/// Published decimals have six significant digits.
void expect_published(double actual, const json& value, const std::string& what) {
  const double expected = value.get<double>();
  EXPECT_NEAR(actual, expected, 5e-6 * expected) << what;
}

#define SKIP_WITHOUT_SUITE(suite) \
  if ((suite).empty()) GTEST_SKIP() << "OPWEAVE_DATA has no msr folder"

TEST(Msr, suite_has_the_published_sizes) {
  const auto suite = published();
  SKIP_WITHOUT_SUITE(suite);
  EXPECT_EQ(suite.size(), 11U);
  for (const Published& row : suite) {
    EXPECT_EQ(row.instance.nodes.size(), row.facts.at("nodes")) << row.id;
    std::size_t edges = 0;
    for (const auto& list : row.instance.successors) edges += list.size();
    EXPECT_EQ(edges, row.facts.at("edges")) << row.id;
    EXPECT_EQ(row.instance.accelerators, row.facts.at("accelerators")) << row.id;
    EXPECT_EQ(row.instance.cpus, row.facts.at("cpus")) << row.id;
    EXPECT_EQ(row.instance.accelerator_memory_bytes, row.facts.at("memory_per_accelerator_bytes")) << row.id;
    double sum = 0;
    for (const auto& node : row.instance.nodes) sum += node.accelerator_ms;
    EXPECT_NEAR(sum, row.facts.at("sum_accelerator_ms").get<double>(), 1e-6) << row.id;
  }
}

TEST(Msr, one_accelerator_has_the_published_load) {
  const auto suite = published();
  SKIP_WITHOUT_SUITE(suite);
  std::size_t rows = 0;
  for (const Published& row : suite) {
    if (!row.facts.contains("published_baselines_ms")) continue;
    const json& baselines = row.facts.at("published_baselines_ms");
    if (!baselines.contains("one_accelerator")) continue;
    expect_published(msr_max_load(row.instance, MsrPlacement(row.instance.nodes.size(), 0)),
                     baselines.at("one_accelerator"), row.id);
    ++rows;
  }
  EXPECT_EQ(rows, 7U);
}

TEST(Msr, all_nodes_on_cpus_have_the_published_latency) {
  const auto suite = published();
  SKIP_WITHOUT_SUITE(suite);
  std::size_t rows = 0;
  for (const Published& row : suite) {
    if (!row.facts.contains("latency_q1_ms")) continue;
    const MsrPlacement on_cpus(row.instance.nodes.size(), row.instance.accelerators);
    EXPECT_NEAR(msr_latency(row.instance, on_cpus).value(),
                row.facts.at("published_baselines_ms").at("all_on_cpu").get<double>(), 1e-9)
        << row.id;
    ++rows;
  }
  EXPECT_EQ(rows, 2U);
}

/// The experts' cuts (human-experts/*.json of the published package): last layer of each accelerator. Layers
/// are color classes, so a gradient lies with its layer.
std::vector<std::int64_t> expert_cuts(const std::string& id) {
  if (id.find("bert24") != std::string::npos) return {8, 12, 16, 20, 24, 32};
  if (id.find("LayerGraphs/resnet50") != std::string::npos) return {5, 37, 79, 121, 163, 177};
  return {};
}

MsrPlacement expert_placement(const MsrInstance& instance, const std::vector<std::int64_t>& cuts) {
  MsrPlacement placement;
  for (const auto& node : instance.nodes) {
    const auto cut = std::lower_bound(cuts.begin(), cuts.end(), node.color_class.value());
    placement.push_back(static_cast<std::uint32_t>(cut - cuts.begin()));
  }
  return placement;
}

TEST(Msr, human_experts_placements_have_the_published_values) {
  const auto suite = published();
  SKIP_WITHOUT_SUITE(suite);
  std::size_t rows = 0;
  for (const Published& row : suite) {
    if (!row.facts.contains("published_baselines_ms")) continue;
    const json& baselines = row.facts.at("published_baselines_ms");
    if (!baselines.contains("human_expert") || baselines.at("human_expert").is_null()) continue;
    const MsrPlacement placement = expert_placement(row.instance, expert_cuts(row.id));
    if (baselines.at("human_expert").is_object()) {
      // The latency row: the expert uses a sixth accelerator where there are five.
      MsrInstance enlarged = row.instance;
      ++enlarged.accelerators;
      EXPECT_NEAR(msr_latency(enlarged, placement).value(), baselines.at("human_expert").at("value").get<double>(),
                  1e-9);
    } else {
      EXPECT_EQ(msr_infeasibility(row.instance, placement), "") << row.id;
      expect_published(msr_max_load(row.instance, placement), baselines.at("human_expert"), row.id);
    }
    ++rows;
  }
  EXPECT_EQ(rows, 5U);
}

/// Our own program over the ideals of the graph: its placements are valued by the library, not by itself.
TEST(Msr, optimal_ordered_placements_have_the_published_values) {
  const auto suite = published();
  SKIP_WITHOUT_SUITE(suite);
  std::size_t rows = 0;
  for (const Published& row : suite) {
    if (!row.facts.contains("contiguous_ordered_ms")) continue;
    const auto placement = best_ordered_placement(row.instance);
    ASSERT_TRUE(placement.has_value()) << row.id;
    EXPECT_EQ(msr_infeasibility(row.instance, *placement), "") << row.id;
    EXPECT_NEAR(msr_max_load(row.instance, *placement), row.facts.at("contiguous_ordered_ms").at("value").get<double>(),
                1e-9)
        << row.id;
    ++rows;
  }
  EXPECT_EQ(rows, 9U);
}

/// The greedy of appendix F: color classes in depth-first topological order fill one accelerator after another;
/// what fits none goes to CPUs. (No circles among the color classes of the two latency instances.)
MsrPlacement greedy_placement(const MsrInstance& instance) {
  std::map<std::int64_t, std::size_t> block_of_color;
  std::vector<std::size_t> block_of(instance.nodes.size());
  std::vector<std::vector<std::size_t>> members;
  for (std::size_t i = 0; i < block_of.size(); ++i) {
    const auto& color = instance.nodes[i].color_class;
    block_of[i] = color ? block_of_color.emplace(*color, members.size()).first->second : members.size();
    if (block_of[i] == members.size()) members.emplace_back();
    members[block_of[i]].push_back(i);
  }
  std::vector<std::vector<std::size_t>> successors(members.size());
  std::vector<std::size_t> waiting_for(members.size());
  for (std::size_t i = 0; i < block_of.size(); ++i) {
    for (const std::uint32_t next : instance.successors[i]) {
      if (block_of[next] == block_of[i]) continue;
      successors[block_of[i]].push_back(block_of[next]);
      ++waiting_for[block_of[next]];
    }
  }
  std::vector<std::size_t> stack;
  for (std::size_t block = 0; block < members.size(); ++block) {
    if (waiting_for[block] == 0) stack.push_back(block);
  }
  MsrPlacement placement(block_of.size(), instance.accelerators);
  std::uint32_t accelerator = 0;
  double used = 0;
  while (!stack.empty()) {
    const std::size_t block = stack.back();
    stack.pop_back();
    double size = 0;
    for (const std::size_t node : members[block]) size += instance.nodes[node].size_bytes;
    // A block that is too large for an accelerator also closes the one being filled.
    if (used + size > instance.accelerator_memory_bytes && used > 0) {
      ++accelerator;
      used = 0;
    }
    if (accelerator < instance.accelerators && size <= instance.accelerator_memory_bytes) {
      for (const std::size_t node : members[block]) placement[node] = accelerator;
      used += size;
    }
    std::vector<std::size_t>& next_blocks = successors[block];
    std::sort(next_blocks.rbegin(), next_blocks.rend());
    for (const std::size_t next : next_blocks) {
      if (--waiting_for[next] == 0) stack.push_back(next);
    }
  }
  return placement;
}

TEST(Msr, greedy_placements_have_the_published_latency) {
  const auto suite = published();
  SKIP_WITHOUT_SUITE(suite);
  std::size_t rows = 0;
  for (const Published& row : suite) {
    if (!row.facts.contains("latency_q1_ms")) continue;
    const MsrPlacement placement = greedy_placement(row.instance);
    EXPECT_EQ(msr_infeasibility(row.instance, placement), "") << row.id;
    EXPECT_NEAR(msr_latency(row.instance, placement).value(),
                row.facts.at("published_baselines_ms").at("greedy").get<double>(), 1e-9)
        << row.id;
    ++rows;
  }
  EXPECT_EQ(rows, 2U);
}

TEST(Msr, every_instance_becomes_a_problem) {
  const auto suite = published();
  SKIP_WITHOUT_SUITE(suite);
  for (const Published& row : suite) {
    const ImportedProblem imported = to_problem(row.instance, row.id);
    const Problem problem = Problem::create(imported.graph, imported.cluster);
    EXPECT_EQ(problem.task_count(), row.instance.nodes.size()) << row.id;
    // Rounding to the nanosecond moves no node by more than half of one.
    std::int64_t total = 0;
    for (std::size_t t = 0; t < problem.task_count(); ++t) {
      total += problem.mode(TaskId(t), *problem.mode_on(TaskId(t), DeviceId(0))).duration.value();
    }
    EXPECT_NEAR(static_cast<double>(total) / 1e6, row.facts.at("sum_accelerator_ms").get<double>(),
                0.5e-6 * static_cast<double>(problem.task_count()) + 1e-6)
        << row.id;
  }
}

}  // namespace
}  // namespace opweave::testing
