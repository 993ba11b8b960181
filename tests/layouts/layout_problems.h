/// Small problems whose operators have options with layouts.
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "core/random.h"
#include "opweave/io.h"
#include "opweave/layout_files.h"
#include "opweave/layouts.h"

namespace opweave::testing {

/// A problem from the texts of its files.
inline LayoutProblem layout_problem(const std::string& graph, const std::string& cluster,
                                    std::optional<std::int64_t> memory = {}) {
  const Cluster parsed = parse_cluster(cluster, "cluster.json");
  LayoutGraph read = parse_layout_graph(graph, "graph.json", parsed, parse_meshes(cluster, "cluster.json", parsed));
  ProblemSettings settings = default_settings(read.graph, parsed);
  if (memory) settings.memory_limit = Bytes(*memory);
  return LayoutProblem::create(std::move(read), parsed, settings);
}

/// Four devices, any two of which a way joins: 2 ns and a byte per ns.
inline std::string four_devices() {
  return R"({"format": "opweave.cluster", "version": 1,
    "devices": [{"name": "d0", "streams": ["compute", "comm"]}, {"name": "d1", "streams": ["compute", "comm"]},
                {"name": "d2", "streams": ["compute", "comm"]}, {"name": "d3", "streams": ["compute", "comm"]}],
    "default_link": {"latency_ns": 2, "bandwidth_bytes_per_s": 1000000000},
    "meshes": [{"name": "left", "devices": ["d0", "d1"]}, {"name": "right", "devices": ["d2", "d3"]},
               {"name": "all", "devices": ["d0", "d1", "d2", "d3"]}, {"name": "one", "any": 1, "of": "all"}]})";
}

/// A random problem of three or four operators: a chain of phase none, or a training step of one parameter.
class RandomLayoutProblem {
 public:
  explicit RandomLayoutProblem(std::uint64_t seed) : random_(seed) {}

  LayoutProblem problem() {
    is_training_ = random_.below(2) == 0;
    const std::size_t count = is_training_ ? 3 + random_.below(2) : 2 + random_.below(3);
    const std::uint32_t microbatches = is_training_ && random_.below(3) == 0 ? 2 : 1;
    std::string tensors;
    std::string operators;
    for (std::size_t i = 0; i < count; ++i) {
      const bool is_step = is_training_ && i + 1 == count;
      tensors += fmt::format(R"({}{{"name": "t{}", "bytes": {}}})", i > 0 ? ", " : "", i, random_.below(13));
      operators += (i > 0 ? ",\n" : "") + operator_text(i, count, is_step);
    }
    const std::string graph = fmt::format(
        R"({{"format": "opweave.graph", "version": 2, "training": {{"microbatches": {},
            "gradient_bytes_per_weight_byte": 1, "optimizer_bytes_per_weight_byte": 2}},
            "parameters": [{{"name": "w", "bytes": {}}}], "tensors": [{}], "operators": [{}]}})",
        microbatches, 1 + random_.below(9), tensors, operators);
    const bool is_tight = random_.below(3) == 0;
    return layout_problem(graph, four_devices(), is_tight ? std::optional(30 + random_.below(40)) : std::nullopt);
  }

 private:
  std::string operator_text(std::size_t i, std::size_t count, bool is_step) {
    const bool reads_parameter = is_training_ && (i == 0 || i + 2 == count || is_step);
    const char* phase = "";
    if (is_training_) phase = is_step ? "O" : i + 2 == count ? "B" : "F";
    // Those that read the parameter choose together: the first of them says on which devices.
    if (!reads_parameter || i == 0) {
      meshes_.clear();
      for (std::size_t k = 0, ways = 1 + random_.below(2); k < ways; ++k) meshes_.push_back(mesh());
    }
    if (i == 0) {
      shared_ = meshes_;
      for (const std::string& name : shared_) parts_.push_back(parts(name));
    }
    const std::vector<std::string>& meshes = reads_parameter ? shared_ : meshes_;
    const std::string input = i > 0 && !is_step ? fmt::format("\"t{}\"", random_.below(2) == 0 ? 0 : i - 1) : "";
    std::string options;
    for (std::size_t k = 0; k < meshes.size(); ++k) {
      std::string layouts;
      if (!is_step) layouts = fmt::format("\"t{}\": \"{}\"", i, layout(true));
      if (!input.empty()) layouts += fmt::format(", {}: \"{}\"", input, layout(false));
      options += fmt::format(R"({}{{"name": "way{}", "mesh": "{}", "duration_ns": {}, "layouts": {{{}}}{}}})",
                             k > 0 ? ", " : "", k, meshes[k], random_.below(8), layouts,
                             i == 0 && is_training_ ? fmt::format(R"(, "parameters": {{"w": {}}})", parts_[k]) : "");
    }
    return fmt::format(
        R"({{"name": "op{}", "phase": "{}", "inputs": [{}], "outputs": [{}], "parameters": [{}], "options": [{}]}})", i,
        phase, input, is_step ? "" : fmt::format("\"t{}\"", i), reads_parameter ? "\"w\"" : "", options);
  }

  std::string mesh() {
    constexpr const char* kMeshes[] = {"left", "right", "left", "all", "one"};
    return kMeshes[random_.below(5)];
  }

  std::string parts(const std::string& name) {
    const std::uint32_t devices = name == "all" ? 4 : name == "one" ? 1 : 2;
    const std::uint32_t split = random_.below(3) == 0 ? devices : 1;
    const std::uint32_t whole = random_.below(4);  // kinds that are kept in as many parts as there are devices
    return fmt::format(R"({{"split": {}, "weights": {}, "gradients": {}, "optimizer": {}}})", split,
                       whole > 2 ? devices : split, whole > 1 ? devices : split, whole > 0 ? devices : split);
  }

  std::string layout(bool is_output) {
    constexpr const char* kLayouts[] = {"R", "S(0)", "S(1)", "P"};
    return kLayouts[random_.below(is_output ? 4 : 3)];
  }

  Random random_;
  bool is_training_ = false;
  std::vector<std::string> meshes_;
  std::vector<std::string> shared_;
  std::vector<std::string> parts_;
};

/// Calls visit(selection) for all selections of a problem.
template <class Visit>
void for_each_selection(const LayoutProblem& problem, Visit visit) {
  LayoutSelection selection(problem.choices().size(), 0);
  for (;;) {
    visit(selection);
    std::size_t c = 0;
    while (c < selection.size() && ++selection[c] == problem.choices()[c].alternatives.size()) selection[c++] = 0;
    if (c == selection.size()) return;
  }
}

}  // namespace opweave::testing
