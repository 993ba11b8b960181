/// One search for strategies on many workers.
#pragma once

#include "distribute/place.h"
#include "opweave/strategy_search.h"

namespace opweave::distribute {

/// As search_strategies(), and with the same answer but for the number of meshes that were looked into: the space is
/// shared out, and all know the last of the `most` best that any has found. Strategies of workers are valued again
/// here. `workers` = 0: as many as the place has cores. \throws InputError as search_strategies(), or about the place
[[nodiscard]] StrategySearchResult search_strategies_on(const Place& place, std::size_t workers,
                                                        const ModelDescription& model, const Machines& machines,
                                                        const TrainingRun& run, const CalibrationProfile& profile,
                                                        Target target, const HeldDecisions& held, std::size_t most,
                                                        const Budget& budget,
                                                        const std::function<void(const StrategyProgress&)>& tell);

}  // namespace opweave::distribute
