/// Small training steps whose values may be dropped or copied to hosts.
#pragma once

#include <gtest/gtest.h>

#include "opweave/memory_modes.h"
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
    std::vector<Operator> operators;
    std::vector<Tensor> tensors;
    std::vector<Parameter> parameters;
    const auto add_tensor = [&](std::string name, std::int64_t bytes) {
      tensors.push_back({std::move(name), Bytes(bytes), {}, {}, {}});
      return TensorId(tensors.size() - 1);
    };
    const auto add = [&](std::string name, Phase phase, const Layer& layer, std::int64_t ns, std::size_t number) {
      Operator op;
      op.name = std::move(name);
      op.phase = phase;
      op.durations = {{"", Duration(ns)}};
      op.devices = {{layer.device}};
      op.parameters = {ParameterId(number)};
      operators.push_back(std::move(op));
      return operators.size() - 1;
    };
    std::vector<TensorId> kept;
    std::vector<std::optional<TensorId>> second_kept;
    std::optional<TensorId> handed;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      parameters.push_back({"w" + std::to_string(l), Bytes(0)});
      const std::size_t op = add("F" + std::to_string(l), Phase::kForward, layers[l], layers[l].forward, l);
      if (handed) operators[op].inputs.push_back(*handed);
      kept.push_back(add_tensor("a" + std::to_string(l), layers[l].kept));
      if (layers[l].second_forward == 0) {
        handed = add_tensor("x" + std::to_string(l), 1);
        operators[op].outputs = {*handed, kept.back()};
        second_kept.emplace_back();
        continue;
      }
      const TensorId inner = add_tensor("y" + std::to_string(l), 0);
      operators[op].outputs = {inner, kept.back()};
      const std::size_t second = add("G" + std::to_string(l), Phase::kForward, layers[l], layers[l].second_forward, l);
      operators[op].layer = operators[second].layer = "layer " + std::to_string(l);
      handed = add_tensor("x" + std::to_string(l), 1);
      second_kept.emplace_back(add_tensor("b" + std::to_string(l), layers[l].second_kept));
      operators[second].inputs = {inner};
      operators[second].outputs = {*handed, *second_kept.back()};
    }
    for (std::size_t l = layers.size(); l-- > 0;) {
      const std::size_t op = add("B" + std::to_string(l), Phase::kBackward, layers[l], layers[l].backward, l);
      operators[op].inputs = {*handed, kept[l]};
      if (second_kept[l]) operators[op].inputs.push_back(*second_kept[l]);
      if (layers[l].has_weight_gradient) {
        const std::size_t weight =
            add("W" + std::to_string(l), Phase::kWeightGradient, layers[l], layers[l].backward, l);
        operators[op].phase = Phase::kInputGradient;
        operators[weight].inputs = {kept[l]};
        operators[weight].after = {OperatorId(op)};
      }
      if (l > 0) {
        handed = add_tensor("g" + std::to_string(l), 1);
        operators[op].outputs = {*handed};
      }
    }
    if (has_optimizer) {
      for (std::size_t l = 0; l < layers.size(); ++l) {
        add("O" + std::to_string(l), Phase::kOptimizer, layers[l], 1, l);
      }
    }
    Training training;
    training.microbatches = microbatches;
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
    auto graph =
        ComputationGraph::create("chain", std::move(operators), std::move(tensors), std::move(parameters), training);
    Cluster cluster = Cluster::create(std::move(parts));
    ProblemSettings settings = default_settings(graph, cluster);
    settings.memory_modes = modes;
    return Problem::create(std::move(graph), std::move(cluster), std::move(settings));
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

}  // namespace opweave::testing
