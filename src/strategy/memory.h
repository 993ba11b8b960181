/// Memory of a device in a step.
#pragma once

#include <span>
#include <vector>

#include "strategy/layer_memory.h"
#include "strategy/layer_work.h"
#include "strategy/stages.h"

namespace opweave::strategy {

/// What allocators lose between blocks, of all that is not constant.
inline constexpr double kFragmentation = 0.1;
/// Of a weight of the largest layer where weights are shared out: two layers' weights and gradients, in 16 bits.
inline constexpr double kGatheredBytes = 8;

/// What a stage keeps of its activations. Bytes.
struct StageActivations {
  double microbatch = 0;     ///< of one, in all layers
  double working = 0;        ///< of the layer that most is made again of, once
  double largest_layer = 0;  ///< what it keeps of one microbatch
};
[[nodiscard]] StageActivations stage_activations(const Setting& setting, const std::vector<StageLayers>& layers);
/// All that the memory of a stage depends on of its layers, by run: of a mesh and a set of modules, whatever else of
/// its layers a stage makes again.
struct LayersHold {
  std::span<const LayerMemory> activations;
  std::span<const LayerWeights> weights;
};

/// Weights that one rank of each stage holds, embedding and head included.
[[nodiscard]] std::vector<LayerWeights> held_weights(const Setting& setting);

/// Of one stage with these layers and weights, as the setting's strategy makes layers again.
[[nodiscard]] StepMemory stage_memory(const Setting& setting, std::uint32_t stage,
                                      const std::vector<StageLayers>& layers, const LayerWeights& held);
/// The same with so many microbatches in flight.
[[nodiscard]] StepMemory stage_memory(const Setting& setting, std::uint32_t stage,
                                      const std::vector<StageLayers>& layers, const LayerWeights& held, double flights);
/// The same where all this is known of the layers.
[[nodiscard]] StepMemory stage_memory(const Setting& setting, std::uint32_t stage,
                                      const std::vector<StageLayers>& layers, const LayerWeights& held, double flights,
                                      const LayersHold& hold);
/// Of every stage.
[[nodiscard]] std::vector<StepMemory> stage_memories(const Setting& setting);

/// Does a stage fit, on the device and on its share of the host?
[[nodiscard]] bool fits(const StepMemory& memory, const Machines& machines);

}  // namespace opweave::strategy
