/// The fixture that everybody knows: four operators in a diamond, two devices.
#pragma once

#include "opweave/cluster.h"
#include "opweave/graph.h"
#include "opweave/problem.h"

namespace opweave::testing {

/// top (10) -> left (20), right (30) -> bottom (5); each output has 100 bytes. Times in ns, any device.
inline ComputationGraph tiny_diamond_graph(Training training = {}) {
  const auto make = [](std::string name, std::int64_t ns, std::vector<TensorId> inputs, std::vector<TensorId> outputs) {
    Operator op;
    op.name = std::move(name);
    op.durations = {{"", Duration(ns)}};
    op.inputs = std::move(inputs);
    op.outputs = std::move(outputs);
    return op;
  };
  std::vector<Tensor> tensors(4);
  const char* names[] = {"t", "l", "r", "b"};
  for (std::size_t i = 0; i < 4; ++i) tensors[i] = {names[i], Bytes(100), {}, {}};
  return ComputationGraph::create(
      "tiny_diamond",
      {make("top", 10, {}, {TensorId(0)}), make("left", 20, {TensorId(0)}, {TensorId(1)}),
       make("right", 30, {TensorId(0)}, {TensorId(2)}), make("bottom", 5, {TensorId(1), TensorId(2)}, {TensorId(3)})},
      std::move(tensors), {}, std::move(training));
}

/// Two devices "d0", "d1" of unlimited memory; a transfer takes 2 ns + 1 ns per 100 bytes.
inline Cluster tiny_cluster(std::optional<Bytes> memory = std::nullopt) {
  ClusterParts parts;
  parts.name = "tiny";
  parts.devices = {{"d0", "", memory, {"compute"}}, {"d1", "", memory, {"compute"}}};
  parts.default_link = Link{"", "", "", Duration(2), 100'000'000'000, true};
  return Cluster::create(std::move(parts));
}

inline Problem tiny_diamond() { return Problem::create(tiny_diamond_graph(), tiny_cluster()); }

}  // namespace opweave::testing
