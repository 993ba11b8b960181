/// Modules of a layer that may be made again alone.
#pragma once

#include <vector>

#include "strategy/layer_work.h"

namespace opweave::strategy {

/// Seconds in which each module of a layer is made again. `forward` is the layer's own pass.
[[nodiscard]] ModuleTimes module_times(const Setting& setting, const LayerRun& layer, const PassTime& forward);
/// Of all modules of a set: experts are made again with their activation function and the shared ones.
[[nodiscard]] double seconds_of(ModuleSet modules, const ModuleTimes& times);

/// Which module of a set no layer of the model has, in one line; empty where there is none.
[[nodiscard]] std::string why_no_such_module(const ModelDescription& model, ModuleSet modules);

/// Sets of Megatron-Core's modules that leave something in the model, each module that changes nothing left out; the
/// empty set first.
[[nodiscard]] std::vector<ModuleSet> module_sets(const ModelDescription& model, const CalibrationProfile& profile);

}  // namespace opweave::strategy
