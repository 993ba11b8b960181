/// Small training steps whose operators have options with layouts and whose values may have memory modes.
#pragma once

#include <fmt/format.h>

#include <algorithm>

#include <string>
#include <vector>

#include "layouts/layout_problems.h"
#include "opweave/error.h"
#include "opweave/memory_modes.h"

namespace opweave::testing {

/// The cluster of four_devices() with hosts, 1 ns and two bytes per ns away.
inline std::string four_devices_with_hosts(std::optional<std::int64_t> host_memory = {}) {
  std::string devices;
  for (int d = 0; d < 4; ++d) {
    const std::string host = host_memory ? fmt::format(", \"host_memory_bytes\": {}", *host_memory) : "";
    devices += fmt::format(R"({}{{"name": "d{}", "type": "gpu", "streams": ["compute", "comm"]{}}})", d > 0 ? ", " : "",
                           d, host);
  }
  return R"({"format": "opweave.cluster", "version": 1, "device_types": [{"name": "gpu",
      "host_link": {"latency_ns": 1, "bandwidth_bytes_per_s": 2000000000}}], "devices": [)" +
         devices + R"(], "default_link": {"latency_ns": 2, "bandwidth_bytes_per_s": 1000000000},
    "meshes": [{"name": "left", "devices": ["d0", "d1"]}, {"name": "right", "devices": ["d2", "d3"]},
               {"name": "all", "devices": ["d0", "d1", "d2", "d3"]}, {"name": "one", "devices": ["d0"]}]})";
}

/// At most seven tasks: one to three operators of the forward pass, one or two behind it, perhaps an optimizer step, of
/// one parameter; one or two tensors of the forward pass that may be dropped or copied to hosts; mostly little memory.
class RandomLayoutModeProblem {
 public:
  explicit RandomLayoutModeProblem(std::uint64_t seed) : random_(seed) {}

  LayoutProblem problem() {
    forward_ = 1 + random_.below(3);
    const std::size_t backward = 1 + random_.below(2);
    const bool has_step = random_.below(2) == 0;
    const std::size_t count = forward_ + backward + (has_step ? 1 : 0);
    const std::uint32_t microbatches = 2 * (forward_ + backward) + (has_step ? 1 : 0) <= 7 ? 1 + random_.below(2) : 1;
    has_layer_ = random_.below(3) == 0;
    is_stack_ = forward_ > 1 && random_.below(2) == 0;
    reading_ = {0, forward_ + backward - 1};
    std::string tensors;
    std::string operators;
    std::size_t free = microbatches > 1 ? 1 : 2;  // tensors that have modes
    for (std::size_t i = 0; i < count; ++i) {
      const bool is_step = has_step && i + 1 == count;
      if (!is_step) {
        const bool has_modes = i < forward_ && free > 0 && (is_stack_ || random_.below(4) > 0);
        if (has_modes) --free;
        tensors += fmt::format(R"({}{{"name": "t{}", "bytes": {}{}}})", i > 0 ? ", " : "", i,
                               (has_modes ? 20 : 0) + random_.below(13), has_modes ? modes() : "");
      }
      operators += (i > 0 ? ",\n" : "") + operator_text(i, is_step);
    }
    const std::string graph = fmt::format(
        R"({{"format": "opweave.graph", "version": 2, "training": {{"microbatches": {},
            "gradient_bytes_per_weight_byte": 1, "optimizer_bytes_per_weight_byte": 2}},
            "parameters": [{{"name": "w", "bytes": {}}}], "tensors": [{}], "operators": [{}]}})",
        microbatches, 1 + random_.below(9), tensors, operators);
    const bool is_tight = random_.below(5) > 0;
    const Cluster cluster = parse_cluster(four_devices_with_hosts(), "cluster.json");
    LayoutGraph read = parse_layout_graph(graph, "graph.json", cluster,
                                          parse_meshes(four_devices_with_hosts(), "cluster.json", cluster));
    ProblemSettings settings = default_settings(read.graph, cluster);
    if (is_tight) settings.memory_limit = Bytes((is_stack_ ? 50 : 20) + static_cast<std::int64_t>(random_.below(50)));
    return LayoutProblem::create(std::move(read), cluster, settings);
  }

 private:
  std::string modes() {
    constexpr const char* kModes[] = {R"("drop")", R"("drop")", R"("host")", R"("drop", "host")"};
    return fmt::format(R"(, "memory_modes": [{}])", kModes[random_.below(4)]);
  }

  std::string operator_text(std::size_t i, bool is_step) {
    const bool reads_parameter = is_step || i == reading_[0] || i == reading_[1];
    const bool is_forward = i < forward_;
    const char* phase = is_step ? "O" : is_forward ? "F" : i == reading_[1] ? "B" : "I";
    if (!reads_parameter || i == 0) {
      meshes_.clear();
      for (std::size_t k = 0, ways = 1 + random_.below(2); k < ways; ++k) meshes_.push_back(mesh());
    }
    if (i == 0) {
      shared_ = meshes_;
      for (const std::string& name : shared_) parts_.push_back(parts(name));
    }
    std::vector<std::string> inputs;
    const auto read = [&](std::size_t t) {
      const std::string name = fmt::format("\"t{}\"", t);
      if (std::ranges::find(inputs, name) == inputs.end()) inputs.push_back(name);
    };
    if (i > 0 && !is_step) {
      read(is_forward && random_.below(3) == 0 ? 0 : i - 1);
      // What the backward pass needs of the forward pass.
      const auto last = static_cast<std::uint32_t>(forward_) - 1;
      if (!is_forward) read(!is_stack_ ? random_.below(last + 1) : i == reading_[1] ? 0 : last);
    }
    std::string list;
    for (const std::string& input : inputs) list += (list.empty() ? "" : ", ") + input;
    const std::vector<std::string>& meshes = reads_parameter ? shared_ : meshes_;
    std::string options;
    for (std::size_t k = 0; k < meshes.size(); ++k) {
      std::string layouts;
      if (!is_step) layouts = fmt::format("\"t{}\": \"{}\"", i, layout(true));
      for (const std::string& input : inputs) layouts += fmt::format(", {}: \"{}\"", input, layout(false));
      options += fmt::format(R"({}{{"name": "way{}", "mesh": "{}", "duration_ns": {}, "layouts": {{{}}}{}}})",
                             k > 0 ? ", " : "", k, meshes[k], random_.below(8), layouts,
                             i == 0 ? fmt::format(R"(, "parameters": {{"w": {}}})", parts_[k]) : "");
    }
    return fmt::format(
        R"({{"name": "op{}", "phase": "{}", "layer": "{}", "inputs": [{}], "outputs": [{}], "parameters": [{}],
            "options": [{}]}})",
        i, phase, has_layer_ && is_forward && i < 2 ? "layer" : "", list, is_step ? "" : fmt::format("\"t{}\"", i),
        reads_parameter ? "\"w\"" : "", options);
  }

  std::string mesh() {
    constexpr const char* kMeshes[] = {"left", "right", "left", "all", "one"};
    return is_stack_ ? "one" : kMeshes[random_.below(5)];
  }

  std::string parts(const std::string& name) {
    const std::uint32_t devices = name == "all" ? 4 : name == "one" ? 1 : 2;
    const std::uint32_t split = random_.below(3) == 0 ? devices : 1;
    const std::uint32_t whole = random_.below(4);  // kinds that are kept in as many parts as there are devices
    return fmt::format(R"({{"split": {}, "weights": {}, "gradients": {}, "optimizer": {}}})", split,
                       whole > 2 ? devices : split, whole > 1 ? devices : split, whole > 0 ? devices : split);
  }

  std::string layout(bool is_output) {
    constexpr const char* kLayouts[] = {"R", "S(0)", "S(0)", "S(1)", "P"};
    return kLayouts[random_.below(is_output ? 5 : 4)];
  }

  Random random_;
  std::size_t forward_ = 1;
  bool has_layer_ = false;
  bool is_stack_ = false;             // on one device, the last in being the first out
  std::vector<std::size_t> reading_;  // the parameter
  std::vector<std::string> meshes_;
  std::vector<std::string> shared_;
  std::vector<std::string> parts_;
};

/// A value and the modes that it may have.
struct FreeMode {
  std::size_t value;
  std::vector<MemoryMode> modes;
};

inline std::vector<FreeMode> free_modes(const DerivedProblem& derived) {
  const Problem& problem = derived.problem();
  std::vector<FreeMode> free;
  for (std::size_t v = 0; v < problem.value_count(); ++v) {
    const MemoryModes may =
        problem.graph().memory_modes(problem.tensor_of(ValueId(v)), problem.settings().memory_modes);
    if (!may.any()) continue;
    free.push_back({v, {MemoryMode::kKeep}});
    if (may.drop) free.back().modes.push_back(MemoryMode::kDrop);
    if (may.host) free.back().modes.push_back(MemoryMode::kHost);
  }
  return free;
}

/// How many choices of memory modes a selection has.
inline std::uint64_t count_choices(const DerivedProblem& derived) {
  std::uint64_t count = 1;
  for (const FreeMode& one : free_modes(derived)) count *= one.modes.size();
  return count;
}

/// Calls visit(movements) for all choices of memory modes of a selection that some plan could have.
template <class Visit>
void for_each_choice_of_modes(const DerivedProblem& derived, Visit visit) {
  const Problem& problem = derived.problem();
  const std::vector<FreeMode> free = free_modes(derived);
  for (std::uint64_t number = 0, count = count_choices(derived); number < count; ++number) {
    MemoryChoice choice(problem.value_count(), MemoryMode::kKeep);
    std::uint64_t rest = number;
    for (const FreeMode& one : free) {
      choice[one.value] = one.modes[rest % one.modes.size()];
      rest /= one.modes.size();
    }
    std::optional<ProblemWithMovements> movements;
    try {
      movements = ProblemWithMovements::create(problem, std::move(choice));
    } catch (const InputError&) {
      continue;  // units that need each other
    }
    visit(*movements);
  }
}

}  // namespace opweave::testing
