/// What explain, diff and what-if say of strategies (docs/strategies.md).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cli/command.h"
#include "opweave/strategy_search.h"

namespace opweave::cli {

/// Where the answer goes as JSON, if it is wanted so.
struct JsonOutput {
  bool to_terminal = false;
  std::filesystem::path file;  ///< empty: standard output
  [[nodiscard]] bool is_wanted() const { return to_terminal || !file.empty(); }
};

/// Does the file say that it is a strategy? No for one that cannot be read. \throws InputError for a folder
[[nodiscard]] bool is_strategy_file(const std::filesystem::path& path);

/// Where the time and the memory of a step go, and what every other choice of one decision would cost.
ExitCode explain_strategy_file(const std::filesystem::path& path, const JsonOutput& output);
/// What two strategies decide differently, and what each part of step and memory gains or loses.
ExitCode diff_strategies(const std::filesystem::path& before, const std::filesystem::path& after,
                         const JsonOutput& output);
/// The strategy and the best one under changes of the machines and of the run.
ExitCode what_if_strategy_file(const std::filesystem::path& path, double seconds_per_change, const JsonOutput& output);

/// What a step is predicted with, and how well that is known to be: "profile: mine (median error 2.0% on 4 measured
/// steps, 90th percentile 3.1%)".
[[nodiscard]] std::string profile_text(const CalibrationProfile& profile, const ModelDescription& model,
                                       const Machines& machines);
/// What a strategy makes again ("full", "3 layers, mlp", "none"), and what waits on the host ("-", "optimizer 50%").
[[nodiscard]] std::string recompute_text(const Strategy& strategy);
[[nodiscard]] std::string offload_text(const Strategy& strategy);
/// A line where the strategy uses the host, which the error of no profile speaks of; else empty.
[[nodiscard]] std::string host_text(const StrategyValue& value);
/// A warning with figures where the strategy does not fit.
void warn_of_memory(const StrategyValue& value, const Machines& machines);
/// A table of strategies, for people.
[[nodiscard]] std::string as_table(const std::vector<RankedStrategy>& ranked);

}  // namespace opweave::cli
