/// What a layer keeps from its forward to its backward pass.
#pragma once

#include "strategy/layer_work.h"

namespace opweave::strategy {

/// Bytes of one microbatch on one rank, in one layer.
struct LayerMemory {
  double all = 0;    ///< with nothing made again
  double kept = 0;   ///< without what the strategy's modules make again
  double input = 0;  ///< where the layer is made again whole
};
[[nodiscard]] LayerMemory layer_memory(const Setting& setting, const LayerRun& layer);

}  // namespace opweave::strategy
