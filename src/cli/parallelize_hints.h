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
/// One held decision with the value with which there would be a strategy; empty where no single one helps.
[[nodiscard]] std::string decision_that_would_work(const StrategyQuestion& question, const Budget& budget);

}  // namespace opweave::cli
