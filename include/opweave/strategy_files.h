/// Strategies in the words of the frameworks that run them. Each file names the version that it was written for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "opweave/model.h"
#include "opweave/strategy.h"

namespace opweave {

enum class StrategyFormat : std::uint8_t { kMegatron, kMegatronBridge, kTorchtitan, kDeepSpeed };
// "megatron", "bridge", "torchtitan", "deepspeed"; from_string: nothing for any other text.
[[nodiscard]] std::string_view to_string(StrategyFormat format);
[[nodiscard]] std::optional<StrategyFormat> strategy_format_from_string(std::string_view text);

/// What a file says beside the strategy.
struct StrategyFileOptions {
  std::string base;          ///< configuration function of the framework to start from; empty = the user's own
  std::string schedule_csv;  ///< file of the schedule, beside this one, where has_schedule_file
};

/// Does the file need a schedule in the CSV form of PyTorch beside it? torchtitan does for zero-bubble schedules.
[[nodiscard]] bool has_schedule_file(StrategyFormat format, const Strategy& strategy);

/// The file. \throws InputError with the reason where the framework has no word for the strategy or the model.
[[nodiscard]] std::string strategy_file(StrategyFormat format, const ModelDescription& model, const TrainingRun& run,
                                        const Strategy& strategy, const StrategyFileOptions& options = {});

/// Kinds of layers by stage as Megatron-LM's `--pipeline-model-parallel-layout`: E embedding, t decoder, m multi-token
/// prediction, L head and loss; equal stages and letters in a row once with their number.
[[nodiscard]] std::string megatron_layout(const std::vector<std::string>& stages);
/// The stages of a layout, by the rules of Megatron-Core 0.19: commas say nothing, (...)*n is unrolled first, then x*n.
/// \throws InputError naming a letter that is none of E, t, m, L, or a layout of more than a million letters
[[nodiscard]] std::vector<std::string> parse_megatron_layout(std::string_view layout);

/// A module of Python with the function `planned(config)` that puts these settings, Python expressions by field, into a
/// `Trainer.Config` of torchtitan 0.3; with a base ("llama3.llama3_8b") also a function of its name.
struct TorchtitanFields {
  std::vector<std::pair<std::string, std::string>> parallelism;
  std::vector<std::pair<std::string, std::string>> training;
  std::vector<std::pair<std::string, std::string>> others;  ///< fields of Trainer.Config
  std::string base;
};
[[nodiscard]] std::string torchtitan_module(const TorchtitanFields& fields);

}  // namespace opweave
