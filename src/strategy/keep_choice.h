/// What a target can say about what stages keep for their backward passes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "opweave/strategy_search.h"

namespace opweave::strategy {

enum class RecomputeChoice : std::uint8_t {
  kPerStage,   ///< a number of layers, modules and a share on the host for every stage
  kUniform,    ///< modules for all stages, or a number of layers, a multiple of the chunks
  kAllOrNone,  ///< all layers of the model, or none, or modules in all of them
};

/// What the layers keep that are not made again whole.
struct KeptPart {
  ModuleSet modules;   ///< that are made again
  double offload = 0;  ///< share on the host
};

/// The decisions on memory that a search tries.
struct KeepChoice {
  RecomputeChoice layers = RecomputeChoice::kPerStage;
  std::vector<KeptPart> parts;
  std::vector<double> optimizer_offloads;
  std::optional<Recompute> held;  ///< kFull: all layers are made again whole; otherwise none is
};
[[nodiscard]] KeepChoice keep_choice(const ModelDescription& model, const CalibrationProfile& profile, Target target,
                                     const HeldDecisions& held);

/// Why a target cannot move activations of layers to the host that make these modules again; empty where it can.
[[nodiscard]] std::string why_not_offloaded(Target target, const ModelDescription& model, ModuleSet modules);

}  // namespace opweave::strategy
