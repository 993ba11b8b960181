/// What is shown of a search for strategies: JSON, and a page with the strategy on its first screen.
#pragma once

#include <string>
#include <vector>

#include "opweave/strategy_search.h"

namespace opweave {

/// What one pipeline rank holds, and what a microbatch takes there.
struct StageValue {
  struct Layers {
    std::size_t run = 0;  ///< index in ModelDescription::layers
    double count = 0;     ///< fractional where layers are dealt out to chunks unevenly
  };
  std::vector<Layers> layers;
  StepMemory memory;
  Duration forward;  ///< of one microbatch in all chunks, the head among it on the last stage
  Duration backward;
  Duration recompute;
  Duration offload;  ///< exposed copies to the host and back
};
/// In the order of the pipeline. \pre why_impossible is empty
[[nodiscard]] std::vector<StageValue> evaluate_stages(const ModelDescription& model, const Machines& machines,
                                                      const TrainingRun& run, const Strategy& strategy,
                                                      const CalibrationProfile& profile);

/// A search with what it was asked. Refers to its parts.
struct StrategyAnswer {
  const ModelDescription& model;
  const Machines& machines;
  const TrainingRun& run;
  const CalibrationProfile& profile;
  const StrategySearchResult& result;
};

/// The strategies with time by cause and memory by kind (docs/strategies.md).
[[nodiscard]] std::string strategies_to_json(const CalibrationProfile& profile, const StrategySearchResult& result);

/// One HTML page that needs no network: key figures, memory of every stage, time by cause of the best strategies and
/// what each loses, layers on stages, ranks on nodes. \pre the result has a strategy
[[nodiscard]] std::string strategy_report_html(const StrategyAnswer& answer);

}  // namespace opweave
