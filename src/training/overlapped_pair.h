/// Forwards that hide behind backwards: layers whose overlapped pair was measured as one.
#pragma once

#include "opweave/pipeline.h"

namespace opweave::detail {

/// Shortest and longest time that a pair of the layer's forward and whole backward may have: that of the longer one,
/// and of one after the other. \pre one operator, with a forward and a backward, each of one time for all types of
/// device.
struct PairRange {
  Duration shortest;
  Duration longest;
};
[[nodiscard]] PairRange pair_range(const Layer& layer);

/// Splits the forward of the layer's operator in two: what it saves in a pair, which leaves the operator's streams
/// free, and the rest. Both hold a stream "forward", so that forwards do not hide behind each other, which nobody
/// measured. Alone the layer takes as long as before, and a pair as long as `pair`. \pre pair is in pair_range(layer).
void hide_forward(Layer& layer, Duration pair);

}  // namespace opweave::detail
