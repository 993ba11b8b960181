/// Large graphs whose operators have options with layouts: what it takes to read, to plan at once and to check.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <iterator>
#include <random>

#include "bench.h"
#include "opweave/check_layouts.h"
#include "opweave/layout_files.h"
#include "opweave/layouts.h"

namespace opweave::bench {
namespace {

constexpr std::size_t kOperators[] = {10'000, 100'000};
constexpr std::size_t kDevices[] = {8, 64};
/// Devices of each option of an operator, on sets of a node.
constexpr std::array<std::size_t, 8> kOptionSizes = {8, 8, 8, 4, 4, 2, 2, 1};
constexpr std::size_t kNode = 8;
/// Operators in a row that lie on one node.
constexpr std::size_t kRow = 200;

std::string cluster_text(std::size_t devices) {
  std::string list;
  std::string meshes;
  const auto separator = [](const std::string& text) { return text.empty() ? "" : ", "; };
  for (std::size_t d = 0; d < devices; ++d) {
    list += fmt::format(R"({}{{"name": "d{}", "streams": ["compute", "comm"]}})", separator(list), d);
  }
  for (std::size_t size = 1; size <= kNode; size *= 2) {
    for (std::size_t first = 0; first < devices; first += size) {
      std::string members;
      for (std::size_t d = first; d < first + size; ++d) members += fmt::format("{}\"d{}\"", separator(members), d);
      meshes += fmt::format(R"({}{{"name": "{}x{}", "devices": [{}]}})", separator(meshes), size, first, members);
    }
  }
  return fmt::format(
      R"({{"format": "opweave.cluster", "version": 1, "devices": [{}], "meshes": [{}],
          "default_link": {{"latency_ns": 500, "bandwidth_bytes_per_s": 1000000000000}}}})",
      list, meshes);
}

/// Operators as those of LayeredInstance, with eight options each that lay out what they read and make at random, so
/// that nearly every tensor moves. Rows of operators are dealt to the nodes in turn.
std::string graph_text(std::size_t operators, std::size_t devices, std::uint64_t seed) {
  constexpr const char* kLayouts[] = {"R", "S(0)", "S(1)", "P"};
  std::mt19937_64 random(seed);
  const Problem layered = LayeredInstance{operators, static_cast<std::uint32_t>(devices), Bytes(0)}.problem(seed);
  const ComputationGraph& graph = layered.graph();
  std::string tensors;
  std::string list;
  for (std::size_t i = 0; i < operators; ++i) {
    const Operator& op = graph.operators()[i];
    const Tensor& made = graph.at(op.outputs.front());
    fmt::format_to(std::back_inserter(tensors), R"({}{{"name": "{}", "bytes": {}}})", i > 0 ? ", " : "", made.name,
                   made.size.value());
    std::string inputs;
    for (const TensorId input : op.inputs) {
      inputs += fmt::format("{}\"{}\"", inputs.empty() ? "" : ", ", graph.at(input).name);
    }
    fmt::format_to(std::back_inserter(list), R"({}{{"name": "{}", "inputs": [{}], "outputs": ["{}"], "options": [)",
                   i > 0 ? ",\n" : "", op.name, inputs, made.name);
    const std::size_t node = i / kRow % (devices / kNode) * kNode;
    for (std::size_t k = 0; k < kOptionSizes.size(); ++k) {
      const std::size_t size = kOptionSizes[k];
      std::string layouts = fmt::format(R"("{}": "{}")", made.name, kLayouts[random() % 4]);
      for (const TensorId input : op.inputs) {
        layouts += fmt::format(R"(, "{}": "{}")", graph.at(input).name, kLayouts[random() % 3]);
      }
      fmt::format_to(std::back_inserter(list),
                     R"({}{{"name": "way{}", "mesh": "{}x{}", "duration_ns": {}, "layouts": {{{}}}}})",
                     k > 0 ? ", " : "", k, size, node + random() % (kNode / size) * size,
                     op.durations.front().duration.value() / static_cast<std::int64_t>(size), layouts);
    }
    list += "]}";
  }
  return fmt::format(R"({{"format": "opweave.graph", "version": 2, "tensors": [{}], "operators": [{}]}})", tensors,
                     list);
}

void emit_row(std::size_t operators, std::size_t devices, const Options& options, const Emit& emit) {
  const std::string text = graph_text(operators, devices, options.seed);
  const std::string cluster_json = cluster_text(devices);
  const double begin = cpu_seconds();
  const Cluster cluster = parse_cluster(cluster_json, "cluster");
  LayoutGraph graph = parse_layout_graph(text, "graph", cluster, parse_meshes(cluster_json, "cluster", cluster));
  const ProblemSettings settings = default_settings(graph.graph, cluster);
  const LayoutProblem problem = LayoutProblem::create(std::move(graph), cluster, settings);
  const double read = cpu_seconds();
  double first = read;
  std::atomic<bool> is_there = false;
  PlannerOptions planner;
  planner.seed = options.seed;
  planner.threads = 1;
  planner.on_progress = [&](const Progress&) {
    if (!is_there.exchange(true)) first = cpu_seconds();
  };
  Budget budget;  // ends with the first plan
  budget.watch(&is_there);
  const LayoutPlanResult result = plan_with_layouts(problem, budget, planner);
  const double planned = cpu_seconds();
  const std::size_t violations = result.plan ? check(problem.graph(), cluster, *result.plan).size() : 0;
  const double checked = cpu_seconds();
  emit(fmt::format(
      "| {} | {} | {} | {:.2f} | {:.2f} | {:.2f} | {} |", operators, devices,
      result.plan ? result.plan->movements.size() : 0, read - begin, first - read, checked - planned,
      !result.plan ? "none"
      : violations > 0
          ? "not valid"
          : fmt::format("{:.2f}", static_cast<double>(result.plan->plan.statistics.makespan.value()) / 1e6)));
}

}  // namespace

void emit_layouts(const Options& options, const Emit& emit) {
  emit("");
  emit(
      "Options with layouts: eight for each operator, on sets of 1 to 8 devices of a node, with random layouts. One "
      "thread, CPU seconds: to read the graph, from there to the first plan with its check, and to check that plan "
      "once "
      "more.");
  emit("");
  emit("| operators | devices | movements | read s | first plan s | check s | makespan ms |");
  emit("|---|---|---|---|---|---|---|");
  for (const std::size_t operators : kOperators) {
    for (const std::size_t devices : kDevices) emit_row(operators, devices, options, emit);
  }
}

}  // namespace opweave::bench
