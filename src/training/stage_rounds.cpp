// How stages lie on devices, and the layers of a specification as they are cut.
#include <algorithm>
#include <numeric>

#include "opweave/cut.h"
#include "opweave/error.h"

namespace opweave {

std::uint32_t StageRounds::device_of(std::uint32_t stage, bool opposite) const {
  const std::uint32_t place = stage % devices;
  return downwards[stage / devices] != opposite ? devices - 1 - place : place;
}

StageRounds rounds_of(PipelineShape shape, std::uint32_t stages, std::uint32_t devices, const Training& training) {
  StageRounds rounds;
  rounds.devices = devices;
  switch (shape) {
    case PipelineShape::kLinear:
      break;
    case PipelineShape::kV:
      rounds.downwards = {false, true};
      break;
    case PipelineShape::kLoop:
      rounds.downwards.assign(stages / devices, false);
      break;
    case PipelineShape::kTwoWay: {
      rounds.runs = 0;
      for (std::uint32_t microbatch = 0; microbatch < training.microbatches; ++microbatch) {
        ++(training.replica_of(microbatch) == 0 ? rounds.runs : rounds.opposite_runs);
      }
      const std::int64_t common = std::max<std::int64_t>(1, std::gcd(rounds.runs, rounds.opposite_runs));
      rounds.runs /= common;
      rounds.opposite_runs /= common;
      break;
    }
    case PipelineShape::kFree:
      throw InternalError("a free pipeline has no rounds of stages");
  }
  return rounds;
}

LayerRow layer_row(const PipelineSpec& spec, const std::function<Duration(Bytes)>& hop) {
  LayerRow row;
  row.times.emplace_back();
  for (const Layer& layer : spec.layers) {
    LayerTimes& times = row.times.front().emplace_back();
    for (const LayerOperator& op : layer.operators) {
      times += {op.forward.value_or(Duration()), op.input_gradient.value_or(Duration()),
                op.weight_gradient.value_or(Duration())};
    }
    row.hops.push_back(hop(layer.output));
  }
  return row;
}

}  // namespace opweave
