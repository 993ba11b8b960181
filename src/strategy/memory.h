/// Memory of a device in a step.
#pragma once

#include <vector>

#include "strategy/layer_work.h"

namespace opweave::strategy {

/// Weights that one rank holds of the stage that has most, embedding and head included.
[[nodiscard]] LayerWeights most_held_weights(const Setting& setting);

/// Of every stage.
[[nodiscard]] std::vector<StepMemory> stage_memories(const Setting& setting);

/// Of the stage that needs most, whose number `stage` becomes.
[[nodiscard]] StepMemory largest_memory(const Setting& setting, std::uint32_t& stage);

}  // namespace opweave::strategy
