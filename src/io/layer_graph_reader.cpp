#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "io/json_reader.h"
#include "opweave/layer_graph.h"

namespace opweave {
namespace {

using io::JsonValue;
using io::number_into;
using io::OtherKeys;
using io::required;
using io::text_into;

constexpr std::int64_t kMostId = 1'000'000'000;
constexpr std::int64_t kMostTensor = 10'000;

/// The files carry totals and settings of their authors' experiments, which are ignored.
class LayerGraphReader {
 public:
  LayerGraph read(const JsonValue& root) && {
    std::optional<JsonValue> nodes;
    std::optional<JsonValue> edges;
    read_object<OtherKeys::kIgnore>(root, required("nodes", io::keep(nodes)), required("edges", io::keep(edges)));
    // Edges first need all ids, and alternatives all edges.
    nodes->each([&](const JsonValue& value) { read_node(value); });
    if (graph_.nodes.empty()) nodes->fail("is empty, expected a node");
    edges->each([&](const JsonValue& value) { read_edge(value); });
    require_acyclic(*edges);
    nodes->each([&](const JsonValue& value) { read_alternatives(value); });
    return std::move(graph_);
  }

 private:
  void read_node(const JsonValue& value) {
    LayerGraph::Node& node = graph_.nodes.emplace_back();
    const auto read_id = [&](const JsonValue& id) {
      node.id = id.integer(0, kMostId);
      if (!node_of_id_.emplace(node.id, static_cast<std::uint32_t>(graph_.nodes.size() - 1)).second) {
        id.fail(fmt::format("value is {}, already the id of another node", node.id));
      }
    };
    read_object<OtherKeys::kIgnore>(value, required("id", read_id), io::optional("name", text_into(node.name)));
  }

  void read_edge(const JsonValue& value) {
    LayerGraph::Edge& edge = graph_.edges.emplace_back();
    const auto end_into = [&](std::uint32_t& target) {
      return [&](const JsonValue& id) {
        const auto found = node_of_id_.find(id.integer(0, kMostId));
        if (found == node_of_id_.end()) id.reject("the id of a node");
        target = found->second;
      };
    };
    read_object<OtherKeys::kIgnore>(value, required("sourceId", end_into(edge.source)),
                                    required("destId", end_into(edge.target)),
                                    required("communicationCost", number_into(edge.bytes)));
    const std::uint64_t key = std::uint64_t{edge.source} << 32U | edge.target;
    if (!edge_of_ends_.emplace(key, static_cast<std::uint32_t>(graph_.edges.size() - 1)).second) {
      value.fail(fmt::format("there is another edge from node {} to node {}", graph_.nodes[edge.source].id,
                             graph_.nodes[edge.target].id));
    }
  }

  void require_acyclic(const JsonValue& edges) const {
    std::vector<std::uint32_t> waits_for(graph_.nodes.size());
    for (const LayerGraph::Edge& edge : graph_.edges) ++waits_for[edge.target];
    std::vector<std::uint32_t> free;
    for (std::uint32_t node = 0; node < waits_for.size(); ++node) {
      if (waits_for[node] == 0) free.push_back(node);
    }
    for (std::size_t i = 0; i < free.size(); ++i) {
      for (const LayerGraph::Edge& edge : graph_.edges) {
        if (edge.source == free[i] && --waits_for[edge.target] == 0) free.push_back(edge.target);
      }
    }
    const auto stuck = std::ranges::find_if(waits_for, [](std::uint32_t count) { return count > 0; });
    if (stuck == waits_for.end()) return;
    edges.fail(fmt::format("node {} is on or behind a cycle, expected none",
                           graph_.nodes[static_cast<std::size_t>(stuck - waits_for.begin())].id));
  }

  void read_alternatives(const JsonValue& value) {
    LayerGraph::Node& node = graph_.nodes[value.position()];
    const auto read_degree = [&](std::string_view key, const JsonValue& list) {
      std::uint32_t tensor = 0;
      const auto [rest, error] = std::from_chars(key.data(), key.data() + key.size(), tensor);
      if (error != std::errc() || rest != key.data() + key.size() || tensor == 0 || tensor > kMostTensor) {
        list.fail(fmt::format("key is {}, expected a number of devices from 1 to {}", key, kMostTensor));
      }
      auto& alternatives = node.by_tensor[tensor];
      list.each([&](const JsonValue& item) { alternatives.push_back(read_alternative(item, value.position())); });
    };
    const auto read_degrees = [&](const JsonValue& degrees) {
      degrees.each_member(read_degree);
      const auto is_empty = [](const auto& entry) { return entry.second.empty(); };
      if (std::ranges::all_of(node.by_tensor, is_empty)) degrees.fail("holds no alternative, expected one");
    };
    read_object<OtherKeys::kIgnore>(value, required("TMPCs", read_degrees));
  }

  LayerGraph::Alternative read_alternative(const JsonValue& value, std::size_t node) const {
    LayerGraph::Alternative result;
    const auto sync_from = [&](bool is_incoming) {
      return [&, is_incoming](const JsonValue& object) {
        object.each_member([&](std::string_view key, const JsonValue& bytes) {
          result.sync_bytes[edge_of(key, bytes, node, is_incoming)] = bytes.number();
        });
      };
    };
    read_object<OtherKeys::kIgnore>(value, required("id", text_into(result.name)),
                                    required("timePerSample", number_into(result.seconds)),
                                    required("parameterSize", number_into(result.parameter_bytes)),
                                    required("memoryUsageA", number_into(result.bytes_per_flight)),
                                    required("memoryUsageB", number_into(result.bytes)),
                                    required("syncTimeFw", sync_from(true)), required("syncTimeBw", sync_from(false)));
    return result;
  }

  /// The edge between `node` and the node that the key names.
  std::uint32_t edge_of(std::string_view key, const JsonValue& value, std::size_t node, bool is_incoming) const {
    std::int64_t id = -1;
    std::from_chars(key.data(), key.data() + key.size(), id);
    const auto other = node_of_id_.find(id);
    if (other != node_of_id_.end()) {
      const std::uint64_t source = is_incoming ? other->second : node;
      const std::uint64_t target = is_incoming ? node : other->second;
      const auto edge = edge_of_ends_.find(source << 32U | target);
      if (edge != edge_of_ends_.end()) return edge->second;
    }
    value.fail(
        fmt::format("key is {}, expected the id of a node with an edge {} this one", key, is_incoming ? "to" : "from"));
  }

  LayerGraph graph_;
  std::unordered_map<std::int64_t, std::uint32_t> node_of_id_;
  std::unordered_map<std::uint64_t, std::uint32_t> edge_of_ends_;
};

}  // namespace

LayerGraph parse_layer_graph(std::string_view json, const std::string& source) {
  const io::JsonDocument document(json, source);
  return LayerGraphReader().read(document.root());
}

}  // namespace opweave
