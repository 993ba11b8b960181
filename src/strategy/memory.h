/// Memory of a device in a step.
#pragma once

#include <vector>

#include "strategy/layer_work.h"
#include "strategy/stages.h"

namespace opweave::strategy {

/// Weights that one rank of each stage holds, embedding and head included.
[[nodiscard]] std::vector<LayerWeights> held_weights(const Setting& setting);

/// Of one stage with these layers and weights, as the setting's strategy makes layers again.
[[nodiscard]] StepMemory stage_memory(const Setting& setting, std::uint32_t stage,
                                      const std::vector<StageLayers>& layers, const LayerWeights& held);
/// Of the stage that needs most, whose number `stage` becomes.
[[nodiscard]] StepMemory largest_memory(const Setting& setting, std::uint32_t& stage);

}  // namespace opweave::strategy
