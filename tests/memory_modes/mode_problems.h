/// Small training steps whose values may be dropped or copied to hosts.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "opweave/check.h"
#include "opweave/memory_modes.h"
#include "support/brute_force.h"
#include "support/varied_problem.h"

namespace opweave::testing {

/// Layers of one F and one B (or I and W) in a chain there and back, each F keeping `kept` bytes for its backward, on
/// given devices of a cluster with hosts.
struct ModeChain {
  struct Layer {
    std::int64_t forward = 1;
    std::int64_t backward = 1;
    std::int64_t kept = 10;
    std::string device = "d0";
    std::int64_t second_forward = 0;  ///< of a second operator of the same unit; 0 = none
    std::int64_t second_kept = 0;     ///< bytes that it keeps
    bool has_weight_gradient = false;
  };
  std::vector<Layer> layers;
  std::uint32_t microbatches = 1;
  std::optional<std::int64_t> memory;
  std::optional<std::int64_t> host_memory;
  std::int64_t host_bandwidth = 10'000'000'000;  ///< 10 bytes per ns
  MemoryModes modes = {true, true};
  bool has_optimizer = false;
  std::int64_t link_latency = 0;

  [[nodiscard]] Problem problem() const {
    auto graph = graph_of_chain();
    Cluster cluster = two_devices();
    ProblemSettings settings = default_settings(graph, cluster);
    settings.memory_modes = modes;
    return Problem::create(std::move(graph), std::move(cluster), std::move(settings));
  }

 private:
  struct Parts {
    std::vector<Operator> operators;
    std::vector<Tensor> tensors;
    std::vector<Parameter> parameters;

    TensorId add_tensor(std::string name, std::int64_t bytes) {
      tensors.push_back({std::move(name), Bytes(bytes), {}, {}, {}});
      return TensorId(tensors.size() - 1);
    }
    std::size_t add(std::string name, Phase phase, const Layer& layer, std::int64_t ns, std::size_t number) {
      Operator op;
      op.name = std::move(name);
      op.phase = phase;
      op.durations = {{"", Duration(ns)}};
      op.devices = {{layer.device}};
      op.parameters = {ParameterId(number)};
      operators.push_back(std::move(op));
      return operators.size() - 1;
    }
  };
  /// What the forward pass of a layer leaves for its backward pass.
  struct Kept {
    TensorId first;
    std::optional<TensorId> second;
  };

  [[nodiscard]] ComputationGraph graph_of_chain() const {
    Parts parts;
    std::vector<Kept> kept;
    std::optional<TensorId> handed;
    for (std::size_t l = 0; l < layers.size(); ++l) kept.push_back(add_forward(parts, l, handed));
    for (std::size_t l = layers.size(); l-- > 0;) add_backward(parts, l, kept[l], handed);
    if (has_optimizer) {
      for (std::size_t l = 0; l < layers.size(); ++l) {
        parts.add("O" + std::to_string(l), Phase::kOptimizer, layers[l], 1, l);
      }
    }
    Training training;
    training.microbatches = microbatches;
    return ComputationGraph::create("chain", std::move(parts.operators), std::move(parts.tensors),
                                    std::move(parts.parameters), training);
  }

  /// `handed` is what the layer before hands on, and then what this one does.
  Kept add_forward(Parts& parts, std::size_t l, std::optional<TensorId>& handed) const {
    const std::string number = std::to_string(l);
    const Layer& layer = layers[l];
    parts.parameters.push_back({"w" + number, Bytes(0)});
    const std::size_t op = parts.add("F" + number, Phase::kForward, layer, layer.forward, l);
    if (handed) parts.operators[op].inputs.push_back(*handed);
    const TensorId kept = parts.add_tensor("a" + number, layer.kept);
    if (layer.second_forward == 0) {
      handed = parts.add_tensor("x" + number, 1);
      parts.operators[op].outputs = {*handed, kept};
      return {kept, std::nullopt};
    }
    const TensorId inner = parts.add_tensor("y" + number, 0);
    parts.operators[op].outputs = {inner, kept};
    const std::size_t second = parts.add("G" + number, Phase::kForward, layer, layer.second_forward, l);
    parts.operators[op].layer = parts.operators[second].layer = "layer " + number;
    handed = parts.add_tensor("x" + number, 1);
    const TensorId second_kept = parts.add_tensor("b" + number, layer.second_kept);
    parts.operators[second].inputs = {inner};
    parts.operators[second].outputs = {*handed, second_kept};
    return {kept, second_kept};
  }

  void add_backward(Parts& parts, std::size_t l, const Kept& kept, std::optional<TensorId>& handed) const {
    const std::string number = std::to_string(l);
    const Layer& layer = layers[l];
    const std::size_t op = parts.add("B" + number, Phase::kBackward, layer, layer.backward, l);
    parts.operators[op].inputs = {*handed, kept.first};
    if (kept.second) parts.operators[op].inputs.push_back(*kept.second);
    if (layer.has_weight_gradient) {
      const std::size_t weight = parts.add("W" + number, Phase::kWeightGradient, layer, layer.backward, l);
      parts.operators[op].phase = Phase::kInputGradient;
      parts.operators[weight].inputs = {kept.first};
      parts.operators[weight].after = {OperatorId(op)};
    }
    if (l > 0) {
      handed = parts.add_tensor("g" + number, 1);
      parts.operators[op].outputs = {*handed};
    }
  }

  [[nodiscard]] Cluster two_devices() const {
    ClusterParts parts;
    parts.types = {{"gpu", {}, {}, HostLink{Duration(0), host_bandwidth}}};
    for (const char* name : {"d0", "d1"}) {
      parts.devices.push_back({name,
                               "gpu",
                               memory ? std::optional(Bytes(*memory)) : std::nullopt,
                               {"compute"},
                               host_memory ? std::optional(Bytes(*host_memory)) : std::nullopt});
    }
    parts.default_link = Link{"", "", "", Duration(link_latency), std::nullopt, true};
    return Cluster::create(std::move(parts));
  }
};

/// A random chain of at most 7 tasks: units of one or two operators, one or two microbatches, little memory.
inline ModeChain random_chain(Random& random) {
  const auto below = [&](std::size_t count) { return static_cast<std::int64_t>(random.below(count)); };
  ModeChain chain;
  const std::size_t layers = 1 + random.below(2);
  std::size_t operators = 0;
  for (std::size_t l = 0; l < layers; ++l) {
    ModeChain::Layer layer{1 + below(6), 1 + below(6), 10 * below(4), random.chance(50) ? "d0" : "d1"};
    if (random.chance(40)) {
      layer.second_forward = 1 + below(6);
      layer.second_kept = 10 * below(3);
    }
    layer.has_weight_gradient = layers == 1 && random.chance(30);
    operators += 2 + (layer.second_forward > 0 ? 1 : 0) + (layer.has_weight_gradient ? 1 : 0);
    chain.layers.push_back(layer);
  }
  const std::size_t most = std::max<std::size_t>(1, 7 / operators);
  chain.microbatches = 1 + static_cast<std::uint32_t>(random.below(most));
  chain.modes = {random.chance(70), random.chance(70)};
  chain.host_bandwidth = 1'000'000'000 * static_cast<std::int64_t>(3 + random.below(20));
  chain.memory = 5 + static_cast<std::int64_t>(random.below(70));
  if (random.chance(20)) chain.host_memory = 10 * below(5);
  return chain;
}

/// The value of a tensor of a microbatch, by name.
inline ValueId value_named(const Problem& problem, const std::string& name, std::uint32_t copy = 0) {
  const auto& tensors = problem.graph().tensors();
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    if (tensors[t].name == name) return problem.value_of(TensorId(t), copy);
  }
  throw InternalError("no tensor " + name);
}

/// The rule and message of the first; empty if there is none.
inline std::string first_of(const std::vector<Violation>& violations) {
  return violations.empty() ? "" : std::string(to_string(violations[0].rule)) + ": " + violations[0].message;
}

inline MemoryChoice keep_all(const Problem& problem) { return MemoryChoice(problem.value_count(), MemoryMode::kKeep); }

/// Problems with more choices are left out: the planner does not try all of them.
inline constexpr std::size_t kMostChoices = 81;

/// The shortest plan over all choices of modes, each by exhaustive search; nothing where none has one. Every plan is
/// valid from the files' point of view, or holds too much on a host.
inline std::optional<Duration> best_of_all_choices(const Problem& problem, std::size_t& count) {
  struct Free {
    ValueId value;
    std::vector<MemoryMode> modes;
  };
  std::vector<Free> free;
  count = 1;
  for (std::size_t v = 0; v < problem.value_count(); ++v) {
    const MemoryModes may =
        problem.graph().memory_modes(problem.tensor_of(ValueId(v)), problem.settings().memory_modes);
    if (!may.any()) continue;
    free.push_back({ValueId(v), {MemoryMode::kKeep}});
    if (may.drop) free.back().modes.push_back(MemoryMode::kDrop);
    if (may.host) free.back().modes.push_back(MemoryMode::kHost);
    count *= free.back().modes.size();
  }
  std::optional<Duration> best;
  if (count > kMostChoices) return best;
  for (std::size_t number = 0; number < count; ++number) {
    MemoryChoice choice = keep_all(problem);
    std::size_t rest = number;
    for (const Free& one : free) {
      choice[one.value.index()] = one.modes[rest % one.modes.size()];
      rest /= one.modes.size();
    }
    const auto derived = ProblemWithMovements::create(problem, choice);
    const auto answer = brute_force(derived.problem());
    if (!answer.finished || !answer.best) continue;
    const Plan plan = derived.plan(*answer.best, {}, {});
    const auto violations = check(problem.graph(), problem.cluster(), plan);
    const bool fits_host =
        std::ranges::none_of(violations, [](const Violation& v) { return v.rule == Rule::kHostMemory; });
    EXPECT_TRUE(violations.empty() || !fits_host) << first_of(violations);
    if (violations.empty() && (!best || plan.statistics.makespan < *best)) best = plan.statistics.makespan;
  }
  return best;
}

}  // namespace opweave::testing
