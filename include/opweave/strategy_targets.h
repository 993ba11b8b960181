/// What the frameworks that run strategies have words for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "opweave/model.h"
#include "opweave/strategy.h"
#include "opweave/strategy_search.h"

namespace opweave {

/// Why the data ranks of a strategy cannot run one number of microbatches each, in one line; empty where they can.
[[nodiscard]] std::string why_no_whole_batch(const TrainingRun& run, const Strategy& strategy);

/// Why the target has no word for a strategy that is possible (why_impossible), in one line; empty where it has, and
/// for Target::kAny.
[[nodiscard]] std::string why_inexpressible(Target target, const ModelDescription& model, const TrainingRun& run,
                                            const Strategy& strategy);

/// Why a strategy that somebody has cannot train this on these machines with the target, in one line; empty where it
/// can: impossible, without a whole number of microbatches, or nothing that the target can say.
[[nodiscard]] std::string why_untrainable(Target target, const ModelDescription& model, const Machines& machines,
                                          const TrainingRun& run, const Strategy& strategy);

/// Layers of every stage in forward order; stage s lies on pipeline rank s mod `strategy.pipeline`. Those of a rank are
/// `layers_per_stage`, the earlier of its stages having the more - but where the first rank has fewer layers than
/// stages, the embedding is alone -; without it, all stages are as even as can be and the earlier ones have the more,
/// since the head is on the last; where two have the fewer, they are the first and the last. Where a component has a
/// mesh of its own, its stages come first, and stages of each mesh share its own layers.
[[nodiscard]] std::vector<std::uint32_t> layers_of_stages(const ModelDescription& model, const Strategy& strategy);

}  // namespace opweave
