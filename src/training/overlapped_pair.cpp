#include "training/overlapped_pair.h"

#include <algorithm>

namespace opweave::detail {
namespace {

constexpr const char* kStream = "forward";

Duration everywhere(const std::optional<LayerTime>& time) {
  return time ? time->durations.front().duration : Duration();
}

Duration backward(const LayerOperator& op) { return everywhere(op.input_gradient) + everywhere(op.weight_gradient); }

}  // namespace

PairRange pair_range(const Layer& layer) {
  const LayerOperator& op = layer.operators.front();
  return {std::max(everywhere(op.forward), backward(op)), everywhere(op.forward) + backward(op)};
}

void hide_forward(Layer& layer, Duration pair) {
  const LayerOperator whole = layer.operators.front();
  const Duration hidden = pair_range(layer).longest - pair;
  LayerOperator first{whole.name + ".hidden", whole.kind, {kStream}, hidden, {}, {}};
  LayerOperator second{whole.name + ".exposed", whole.kind, whole.streams, everywhere(whole.forward) - hidden, {}, {}};
  second.streams.emplace_back(kStream);
  LayerOperator rest = whole;
  rest.forward.reset();
  layer.operators = {std::move(first), std::move(second), std::move(rest)};
}

}  // namespace opweave::detail
