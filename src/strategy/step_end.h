/// What comes after the last backward pass of a step.
#pragma once

#include <vector>

#include "strategy/layer_work.h"

namespace opweave::strategy {

/// Exposed seconds of reducing gradients and gathering weights that one rank holds.
[[nodiscard]] double gradient_seconds(const Setting& setting, const LayerWeights& held);
[[nodiscard]] double optimizer_seconds(const Setting& setting, const LayerWeights& held);
/// The same where weights are shared out and gathered layer by layer, all microbatches of a stage.
[[nodiscard]] double sharded_weights_seconds(const Setting& setting, const std::vector<LayerTime>& layers);
/// Seconds of the step's end for a stage that holds these weights; without those of sharded weights, which are the same
/// for every stage.
[[nodiscard]] double end_seconds(const Setting& setting, const LayerWeights& held);

}  // namespace opweave::strategy
