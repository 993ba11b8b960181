#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "io/foreign_files.h"
#include "io/json_reader.h"
#include "opweave/msr.h"

namespace opweave {
namespace {

using io::JsonValue;
using io::number_into;
using io::optional;
using io::OtherKeys;
using io::required;

constexpr std::int64_t kMostDevices = 128;  // of each kind; the published instances have at most 9

/// true, false, 1 or 0: the files have both kinds.
auto flag_into(bool& target) {
  return [&target](const JsonValue& value) { target = value.is_number() ? value.integer(0, 1) == 1 : value.boolean(); };
}

/// Debug information (names of layers, sizes of edges) may stand anywhere, so unknown keys are ignored.
class MsrReader {
 public:
  MsrInstance read(const JsonValue& root) && {
    std::optional<JsonValue> nodes;
    std::optional<JsonValue> edges;
    const auto count_into = [](std::uint32_t& target) {
      return [&target](const JsonValue& v) { target = static_cast<std::uint32_t>(v.integer(0, kMostDevices)); };
    };
    read_object<OtherKeys::kIgnore>(root, required("maxSizePerFPGA", number_into(instance_.accelerator_memory_bytes)),
                                    required("maxFPGAs", count_into(instance_.accelerators)),
                                    required("maxCPUs", count_into(instance_.cpus)), required("nodes", io::keep(nodes)),
                                    required("edges", io::keep(edges)));
    if (instance_.accelerators + instance_.cpus == 0) root.fail("maxFPGAs and maxCPUs are 0, expected a device");
    nodes->each([&](const JsonValue& value) { read_node(value); });
    has_cost_.resize(instance_.nodes.size());
    instance_.successors.resize(instance_.nodes.size());
    edges->each([&](const JsonValue& value) { read_edge(value); });
    for (std::vector<std::uint32_t>& list : instance_.successors) {
      std::sort(list.begin(), list.end());
      list.erase(std::unique(list.begin(), list.end()), list.end());
    }
    require_acyclic(*edges);
    return std::move(instance_);
  }

 private:
  void read_node(const JsonValue& value) {
    MsrInstance::Node& node = instance_.nodes.emplace_back();
    const auto read_color = [&](const JsonValue& v) { node.color_class = read_label(v); };
    read_object<OtherKeys::kIgnore>(
        value, required("id", [&](const JsonValue& v) { read_id(v); }),
        required("supportedOnFpga", flag_into(node.accelerator_supported)),
        required("fpgaLatency", number_into(node.accelerator_ms)), required("cpuLatency", number_into(node.cpu_ms)),
        optional("size", number_into(node.size_bytes)), required("isBackwardNode", flag_into(node.is_backward)),
        optional("colorClass", read_color), optional("name", io::text_into(node.name)));
  }

  static std::int64_t read_label(const JsonValue& value) { return value.integer(-kMaxInputValue, kMaxInputValue); }

  void read_id(const JsonValue& value) {
    const std::int64_t id = read_label(value);
    instance_.nodes.back().id = id;
    const auto number = static_cast<std::uint32_t>(instance_.nodes.size() - 1);
    const auto [place, is_new] = node_of_id_.emplace(id, number);
    if (!is_new) value.fail(fmt::format("value is {}, already the id of item {}", id, place->second));
  }

  void read_edge(const JsonValue& value) {
    std::uint32_t source = 0;
    std::uint32_t destination = 0;
    std::optional<JsonValue> cost;
    const auto end_into = [&](std::uint32_t& target) {
      return [&](const JsonValue& v) {
        const auto found = node_of_id_.find(read_label(v));
        if (found == node_of_id_.end()) v.reject("the id of a node");
        target = found->second;
      };
    };
    read_object<OtherKeys::kIgnore>(value, required("sourceId", end_into(source)),
                                    required("destId", end_into(destination)), required("cost", io::keep(cost)));
    if (source == destination) {
      value.fail(fmt::format("edge joins node {} to itself", instance_.nodes[source].id));
    }
    instance_.successors[source].push_back(destination);
    // The cost is one of the source's output. The tolerance is that of the suite's own programs.
    constexpr double kTolerance = 1e-6;
    double& output_ms = instance_.nodes[source].output_ms;
    const double stated = cost->number();
    if (has_cost_[source] && std::abs(stated - output_ms) > kTolerance) {
      cost->reject(
          fmt::format("{}, the cost of an earlier edge out of node {}", output_ms, instance_.nodes[source].id));
    }
    if (!has_cost_[source]) output_ms = stated;
    has_cost_[source] = true;
  }

  void require_acyclic(const JsonValue& edges) const {
    // Remove nodes that wait for nothing; each of those left has a predecessor that is left.
    const std::size_t count = instance_.nodes.size();
    std::vector<std::uint32_t> waiting_for(count);
    for (const auto& list : instance_.successors) {
      for (const std::uint32_t node : list) ++waiting_for[node];
    }
    std::vector<std::uint32_t> ready;
    for (std::uint32_t node = 0; node < count; ++node) {
      if (waiting_for[node] == 0) ready.push_back(node);
    }
    std::size_t removed = 0;
    while (!ready.empty()) {
      const std::uint32_t node = ready.back();
      ready.pop_back();
      ++removed;
      for (const std::uint32_t next : instance_.successors[node]) {
        if (--waiting_for[next] == 0) ready.push_back(next);
      }
    }
    if (removed == count) return;

    std::vector<std::uint32_t> predecessor(count);
    std::uint32_t current = 0;
    for (std::uint32_t node = 0; node < count; ++node) {
      if (waiting_for[node] == 0) continue;
      for (const std::uint32_t next : instance_.successors[node]) predecessor[next] = node;
      current = node;
    }
    // Walking backwards as often as there are nodes ends on a cycle.
    for (std::size_t step = 0; step < count; ++step) current = predecessor[current];
    std::string cycle = std::to_string(instance_.nodes[current].id);
    std::size_t length = 0;
    constexpr std::size_t kShown = 8;
    std::uint32_t node = current;
    do {
      node = predecessor[node];
      if (++length <= kShown) cycle.insert(0, fmt::format("{} -> ", instance_.nodes[node].id));
    } while (node != current);
    if (length > kShown) cycle.insert(0, "... -> ");
    edges.fail(fmt::format("cycle through {} nodes: {}", length, cycle));
  }

  MsrInstance instance_;
  std::unordered_map<std::int64_t, std::uint32_t> node_of_id_;
  std::vector<bool> has_cost_;  ///< by node
};

}  // namespace

MsrInstance parse_msr(std::string_view json, const std::string& source) {
  const io::JsonDocument document(json, source);
  const io::JsonValue root = document.root();
  if (root.is_object() && root.object().at_key("maxFPGAs").error() != simdjson::SUCCESS) {
    io::refuse_foreign(root, "a placement instance");
  }
  return MsrReader().read(root);
}

}  // namespace opweave
