/// Models of equal layers.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "opweave/pipeline.h"
#include "opweave/problem.h"

namespace opweave::testing {

struct EqualLayers {
  std::size_t layers = 10;
  std::size_t heads = 4;       ///< side by side in a layer, 10 each, between two operators of 1
  bool has_gradients = false;  ///< of every operator, in the opposite order, each with the weights of its forward
  std::uint32_t devices = 2;
  Duration latency = Duration(0);
};

inline Problem equal_layers(const EqualLayers& shape) {
  std::vector<Operator> operators;
  std::vector<Tensor> tensors;
  std::vector<Parameter> parameters;
  const auto add = [&](std::int64_t duration, std::vector<TensorId> inputs, std::vector<ParameterId> weights) {
    Operator op;
    op.name = "op" + std::to_string(operators.size());
    op.durations = {{"", Duration(duration)}};
    op.inputs = std::move(inputs);
    op.outputs = {TensorId(tensors.size())};
    op.parameters = std::move(weights);
    tensors.push_back({"t" + std::to_string(tensors.size()), Bytes(0), {}, {}});
    operators.push_back(std::move(op));
    return operators.back().outputs.front();
  };
  const auto weights = [&] {
    parameters.push_back({"w" + std::to_string(parameters.size()), Bytes(1)});
    return std::vector{ParameterId(parameters.size() - 1)};
  };
  TensorId x = add(1, {}, {});
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    const TensorId split = add(1, {x}, weights());
    std::vector<TensorId> parts;
    for (std::size_t head = 0; head < shape.heads; ++head) parts.push_back(add(10, {split}, weights()));
    x = add(1, std::move(parts), weights());
  }
  if (shape.has_gradients) {
    const std::vector<Operator> forward = operators;
    TensorId gradient = add(1, {x}, {});
    for (std::size_t layer = shape.layers; layer-- > 0;) {
      const std::size_t first = 1 + layer * (shape.heads + 2);
      const auto back = [&](std::size_t op, std::vector<TensorId> from) {
        from.push_back(forward[op].inputs.front());
        return add(forward[op].durations.front().duration.value(), std::move(from), forward[op].parameters);
      };
      const TensorId joined = back(first + shape.heads + 1, {gradient});
      std::vector<TensorId> parts;
      for (std::size_t head = 0; head < shape.heads; ++head) parts.push_back(back(first + 1 + head, {joined}));
      gradient = back(first, std::move(parts));
    }
  }
  return Problem::create(
      ComputationGraph::create("layers", std::move(operators), std::move(tensors), std::move(parameters)),
      uniform_cluster(shape.devices, {"compute"}, std::nullopt, shape.latency, 1'000'000'000'000'000));
}

}  // namespace opweave::testing
