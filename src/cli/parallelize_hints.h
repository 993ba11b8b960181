/// What would work where `opweave parallelize` finds nothing.
#pragma once

#include <string>

#include "opweave/strategy_search.h"

namespace opweave::cli {

/// All that a search is for.
struct StrategyQuestion {
  const ModelDescription& model;
  const Machines& machines;
  const TrainingRun& run;
  const CalibrationProfile& profile;
  Target target;
  const HeldDecisions& held;
};

/// The fewest nodes, in steps of two, on which a strategy fits; empty where not even 4096 times as many help.
[[nodiscard]] std::string nodes_that_would_work(const StrategyQuestion& question, const Budget& budget);
/// One held decision, or one and the degree of data, with the values with which there would be a strategy; empty where
/// none helps.
[[nodiscard]] std::string decision_that_would_work(const StrategyQuestion& question, const Budget& budget);

/// Where nothing fits: the held decisions that are in the way, with what would do; empty where none is.
[[nodiscard]] std::string decision_that_would_fit(const StrategyQuestion& question, const Budget& budget);

/// What would have to change in a strategy that is impossible: its layers, a degree (and what it trades ranks with), or
/// the degrees of the best; empty where nothing fits.
[[nodiscard]] std::string strategy_that_would_work(const StrategyQuestion& question, const Strategy& wrong,
                                                   const Budget& budget);

}  // namespace opweave::cli
