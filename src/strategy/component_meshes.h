/// Strategies in which a component has a mesh of its own.
#pragma once

#include <vector>

#include "opweave/strategy_search.h"

namespace opweave::strategy {

/// The component that may have a mesh of its own: the one whose layers are the first, if no others stand between them.
/// Null where there is none.
[[nodiscard]] const ModelComponent* first_component(const ModelDescription& model);

/// \throws InputError where decisions are held for a component that cannot have a mesh of its own
void expect_component(const ModelDescription& model, const HeldComponent& held);

/// All pairs of meshes of the space (docs/strategies.md, "A mesh per component"), with what is held: degrees of both;
/// microbatch, experts, schedule and all else are left open.
[[nodiscard]] std::vector<Strategy> component_meshes(const ModelDescription& model, const Machines& machines,
                                                     const TrainingRun& run, const HeldDecisions& held);

}  // namespace opweave::strategy
