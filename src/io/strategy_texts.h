/// The texts of strategy_files.h that are in files of their own.
#pragma once

#include <string>

#include "opweave/strategy_files.h"

namespace opweave::io {

// \throws InputError with the reason where the framework has no word for the model or the strategy.
[[nodiscard]] std::string torchtitan_config(const ModelDescription& model, const TrainingRun& run,
                                            const Strategy& strategy, const StrategyFileOptions& options);
[[nodiscard]] std::string deepspeed_config(const TrainingRun& run, const Strategy& strategy);

}  // namespace opweave::io
