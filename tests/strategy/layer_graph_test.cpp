#include "opweave/layer_graph.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "opweave/error.h"
#include "strategy/choice_knapsack.h"

namespace opweave {
namespace {

/// Numbers of few digits, so that ties and tight fits are common.
LayerGraph random_graph(std::mt19937& random, std::uint32_t nodes) {
  const auto below = [&](std::uint32_t most) { return static_cast<double>(random() % most); };
  LayerGraph graph;
  for (std::uint32_t v = 0; v < nodes; ++v) {
    for (std::uint32_t u = 0; u < v; ++u) {
      if (random() % 2 == 0) graph.edges.push_back({u, v, below(4)});
    }
  }
  for (std::uint32_t v = 0; v < nodes; ++v) {
    LayerGraph::Node& node = graph.nodes.emplace_back();
    node.id = v;
    for (const std::uint32_t tensor : {1U, 2U}) {
      if (tensor == 2 && random() % 3 == 0) continue;
      for (std::uint32_t a = 0; a < 1 + random() % 3; ++a) {
        LayerGraph::Alternative made{"", 1 + below(9) / tensor, below(3), below(4), below(4), {}};
        for (std::uint32_t e = 0; e < graph.edges.size(); ++e) {
          if (graph.edges[e].source == v || graph.edges[e].target == v) made.sync_bytes[e] = below(2);
        }
        node.by_tensor[tensor].push_back(made);
      }
    }
  }
  return graph;
}

/// The least value over all stages of all nodes in all orders, by enumeration.
class CutEnumeration {
 public:
  CutEnumeration(const LayerGraph& graph, const StageTask& task) : graph_(graph), task_(task) {}

  double least() {
    std::vector<std::uint32_t> stage_of(graph_.nodes.size());
    assign(stage_of, 0);
    return least_;
  }

 private:
  /// Every node gets a stage number below the number of nodes.
  void assign(std::vector<std::uint32_t>& stage_of, std::size_t node) {
    if (node == stage_of.size()) return with(stage_of);
    for (stage_of[node] = 0; stage_of[node] < stage_of.size(); ++stage_of[node]) assign(stage_of, node + 1);
    stage_of[node] = 0;
  }

  void with(const std::vector<std::uint32_t>& stage_of) {
    for (const auto& edge : graph_.edges) {
      if (stage_of[edge.source] > stage_of[edge.target]) return;
    }
    std::vector<CutStage> stages;
    for (std::uint32_t number = 0, found = 0; number < stage_of.size(); ++number) {
      CutStage stage;
      for (std::uint32_t v = 0; v < stage_of.size(); ++v) {
        if (stage_of[v] == number) stage.nodes.push_back(v);
      }
      if (stage.nodes.empty()) continue;
      if (found++ != number) return;  // numbers without gaps: each cut once
      stage.alternatives.resize(stage.nodes.size());
      stages.push_back(stage);
    }
    degrees(stages, 0);
  }

  void degrees(std::vector<CutStage>& stages, std::size_t stage) {
    if (stage == stages.size()) return alternatives(stages, 0, 0);
    for (const std::uint32_t tensor : {1U, 2U}) {
      for (std::uint32_t data = 1; data * tensor <= task_.devices; ++data) {
        stages[stage].tensor = tensor;
        stages[stage].data = data;
        degrees(stages, stage + 1);
      }
    }
  }

  void alternatives(std::vector<CutStage>& stages, std::size_t stage, std::size_t item) {
    if (stage == stages.size()) {
      std::vector<CutStage> valued = stages;
      if (value_stages(graph_, task_, valued).empty()) {
        least_ = std::min(least_, std::ranges::max(valued, {}, &CutStage::seconds).seconds);
      }
      return;
    }
    CutStage& s = stages[stage];
    if (item == s.nodes.size()) return alternatives(stages, stage + 1, 0);
    const auto& by_tensor = graph_.nodes[s.nodes[item]].by_tensor;
    const auto found = by_tensor.find(s.tensor);
    if (found == by_tensor.end()) return;
    for (std::uint32_t a = 0; a < found->second.size(); ++a) {
      s.alternatives[item] = a;
      alternatives(stages, stage, item + 1);
    }
  }

  const LayerGraph& graph_;
  const StageTask& task_;
  double least_ = std::numeric_limits<double>::infinity();
};

TEST(CutStages, equal_the_enumeration_of_all_stages) {
  std::mt19937 random(7);
  int without_any = 0;
  for (int i = 0; i < 120; ++i) {
    const LayerGraph graph = random_graph(random, 2 + static_cast<std::uint32_t>(i) % 3);
    const StageTask task{1 + static_cast<std::uint32_t>(random() % 4), 6.0 + static_cast<double>(random() % 20), 4,
                         1 + static_cast<std::uint32_t>(random() % 6)};
    const double expected = CutEnumeration(graph, task).least();
    StageAnswer answer = cut_stages(graph, task);
    if (!std::isfinite(expected)) {
      ++without_any;
      EXPECT_TRUE(answer.stages.empty()) << i;
      continue;
    }
    ASSERT_FALSE(answer.stages.empty()) << i;
    EXPECT_NEAR(answer.value, expected, 1e-9 * expected) << i;
    EXPECT_LE(answer.bound, expected * (1 + 1e-12)) << i;
    EXPECT_TRUE(answer.is_proven()) << i;
    EXPECT_EQ(value_stages(graph, task, answer.stages), "") << i;
  }
  EXPECT_GT(without_any, 0);
  EXPECT_LT(without_any, 100);
}

TEST(CutStages, keep_to_one_order_where_sets_are_too_many_and_say_so) {
  // Thirteen nodes without edges have 2^13 closed sets. One device: all nodes in one stage, 13 seconds.
  LayerGraph graph;
  for (int i = 0; i < 13; ++i) graph.nodes.push_back({i, "", {{1, {{"", 1, 0, 0, 0, {}}}}}});
  const StageAnswer answer = cut_stages(graph, {1, 1, 1, 1});
  EXPECT_FALSE(answer.is_exact_space);
  EXPECT_DOUBLE_EQ(answer.value, 13);
  EXPECT_DOUBLE_EQ(answer.bound, 13);
}

TEST(SelectChoices, equals_the_enumeration_of_all_selections) {
  std::mt19937 random(3);
  for (int i = 0; i < 300; ++i) {
    std::vector<strategy::Choices> items(1 + random() % 5);
    for (auto& choices : items) {
      choices.resize(1 + random() % 4);
      for (auto& choice : choices) {
        choice = {static_cast<double>(random() % 10), static_cast<double>(random() % 10)};
      }
    }
    const auto capacity = static_cast<double>(random() % 30);
    double least = std::numeric_limits<double>::infinity();
    std::vector<std::size_t> chosen(items.size());
    for (bool is_more = true; is_more;) {
      strategy::Choice sum;
      for (std::size_t k = 0; k < items.size(); ++k) {
        sum.time += items[k][chosen[k]].time;
        sum.bytes += items[k][chosen[k]].bytes;
      }
      if (sum.bytes <= capacity) least = std::min(least, sum.time);
      std::size_t k = 0;
      while (k < items.size() && ++chosen[k] == items[k].size()) chosen[k++] = 0;
      is_more = k < items.size();
    }
    const auto exact = strategy::select_choices(items, capacity, 1000);
    EXPECT_EQ(exact.time, least) << i;
    EXPECT_EQ(exact.least, least) << i;
    const auto rounded = strategy::select_choices(items, capacity, 1);
    EXPECT_LE(rounded.least, least + 1e-12) << i;
    EXPECT_GE(rounded.time, least) << i;
  }
}

TEST(ParseLayerGraph, refuses_what_it_cannot_mean) {
  const auto message = [](const std::string& nodes, const std::string& edges) -> std::string {
    try {
      (void)parse_layer_graph(R"({"nodes": [)" + nodes + R"(], "edges": [)" + edges + "]}", "g.json");
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  };
  const auto node = [](int id, const std::string& forward) {
    return R"({"id": )" + std::to_string(id) +
           R"(, "TMPCs": {"1": [{"id": "a", "timePerSample": 1, "parameterSize": 0, "memoryUsageA": 0,)"
           R"( "memoryUsageB": 0, "syncTimeFw": {)" +
           forward + R"(}, "syncTimeBw": {}}]}})";
  };
  const std::string edge = R"({"sourceId": 0, "destId": 1, "communicationCost": 1})";
  const std::string back = R"({"sourceId": 1, "destId": 0, "communicationCost": 1})";
  EXPECT_EQ(message(node(0, "") + "," + node(1, R"("0": 2)"), edge), "");
  EXPECT_EQ(message("", ""), "g.json: /nodes: is empty, expected a node");
  EXPECT_EQ(message(node(0, "") + "," + node(0, ""), ""),
            "g.json: /nodes/1/id: value is 0, already the id of another node");
  EXPECT_EQ(message(node(0, "") + "," + node(1, ""), edge + "," + back),
            "g.json: /edges: node 0 is on or behind a cycle, expected none");
  EXPECT_EQ(message(node(0, "") + "," + node(1, R"("7": 2)"), edge),
            "g.json: /nodes/1/TMPCs/1/0/syncTimeFw/7: key is 7, expected the id of a node with an edge to this one");
}

}  // namespace
}  // namespace opweave
