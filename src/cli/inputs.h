/// From file names and options to the values that the library works on.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/command_files.h"
#include "opweave/budget.h"
#include "opweave/channel_model.h"
#include "opweave/cluster.h"
#include "opweave/error.h"
#include "opweave/graph.h"
#include "opweave/io.h"
#include "opweave/memory_modes.h"
#include "opweave/plan.h"
#include "opweave/planner.h"
#include "opweave/problem.h"
#include "opweave/strategy.h"

namespace opweave::cli {

/// The positional arguments GRAPH and CLUSTER.
struct InputFiles {
  std::filesystem::path graph;
  std::filesystem::path cluster;

  void add_to(CLI::App& command);
  /// For a command that takes a strategy alone as well, in place of GRAPH.
  void add_with_strategy_to(CLI::App& command);
  /// Both, and what else a command reads.
  [[nodiscard]] std::vector<NamedFile> with(std::vector<NamedFile> others) const {
    others.insert(others.begin(), {{"GRAPH", graph}, {"CLUSTER", cluster}});
    return others;
  }
};

/// For commands that also take a strategy in the place of GRAPH, and so cannot demand the others.
/// \throws CLI::RequiredError as if CLUSTER and PLAN were demanded
void expect_plan(const InputFiles& files, const std::filesystem::path& plan);

/// Options that replace settings of the graph's and the cluster's authors.
struct SettingOptions {
  std::optional<std::string> contention;
  std::optional<std::uint32_t> microbatches;
  std::optional<std::uint32_t> replicas;
  std::optional<std::string> memory_limit;
  std::optional<std::string> blocks;
  std::optional<std::string> memory_modes;

  void add_to(CLI::App& command);
  /// The option --blocks, for commands that plan.
  void add_blocks_to(CLI::App& command);
  /// The option --memory-modes, for the command that chooses them.
  void add_memory_modes_to(CLI::App& command);
  /// The authors' settings with the replacements.
  [[nodiscard]] ProblemSettings apply(ProblemSettings settings) const;
};

[[nodiscard]] Cluster load_cluster(const std::filesystem::path& path);
/// GRAPH, its operators estimated where capture wrote it and nobody timed them, and CLUSTER.
struct Inputs {
  EstimatedGraph graph;
  Cluster cluster;
};
/// \param graph  content of files.graph, which may be a pipe
/// What reports say of the durations; empty where they are as in the graph.
[[nodiscard]] std::string times_from(const EstimatedGraph& graph);
[[nodiscard]] Inputs load_inputs(const std::string& graph, const InputFiles& files);
/// A config.json of transformers, or a model of ours.
[[nodiscard]] ModelDescription load_model(const std::filesystem::path& path);
/// A device type, or a file of machines where the name ends in ".json".
[[nodiscard]] Machines load_machines(const std::string& cluster);
[[nodiscard]] Contention parse_contention(const std::string& text);
/// Value of the option --channels.
[[nodiscard]] ChannelModel parse_channels(const std::string& text);
/// Value of the option --memory-modes.
[[nodiscard]] MemoryModes parse_memory_modes(const std::string& text);
/// Value of the option --blocks.
[[nodiscard]] Blocks parse_blocks(const std::string& text);
/// Value of the option --method.
[[nodiscard]] Method parse_method(const std::string& text);
/// Value of the option --threads, or as many as are used at most, with a warning.
[[nodiscard]] unsigned used_threads(unsigned wanted);
/// Which of graph and cluster a plan was made for is another one, by the hashes that it states; empty where none is, or
/// none is stated.
[[nodiscard]] std::string made_for_another(const Plan& plan, const ComputationGraph& graph, const Cluster& cluster);
/// The schedule of a plan file in the modes of this problem, whatever the plan's own settings say.
/// \throws InputError naming the file if a task has no such mode
[[nodiscard]] Schedule load_warm_start(const std::filesystem::path& plan, const Problem& problem);
/// For commands that do not call plan(), which looks by itself.
/// \throws InputError naming the file and the first rule that its schedule breaks
void require_valid(const std::filesystem::path& plan, const Problem& problem, const Schedule& schedule);

/// Runs `build`; an InputError from it is thrown on with `where` (an option, a file) in front.
template <class Build>
auto naming(const std::string& where, Build&& build) {
  try {
    return build();
  } catch (const InputError& error) {
    throw InputError(where + ": " + error.what(), error.hint());
  }
}

/// What a command makes of memory modes (docs/memory-modes.md): most know nothing of them and say so.
enum class Modes : std::uint8_t { kRefuse, kTake };

/// A problem from its files, with the settings of the authors and the options. Says where durations are no measured
/// ones.
/// \throws InputError where values may have memory modes and they are refused
[[nodiscard]] Problem load_problem(const InputFiles& files, const SettingOptions& options = {},
                                   Modes modes = Modes::kRefuse);
/// The same with the content of files.graph. Writes to `times` what times_from() says.
[[nodiscard]] Problem load_problem(const std::string& graph, const InputFiles& files, const SettingOptions& options,
                                   Modes modes, std::string* times = nullptr);
/// What `load` returns, or nothing where that takes longer than the budget allows in all (core/in_time.h); says so on
/// stderr. It owns all it uses: where the clock ends it, it goes on while the command returns.
[[nodiscard]] std::optional<Problem> load_in_time(const Budget& budget, const InputFiles& files,
                                                  std::function<Problem()> load);

/// A plan together with the problem that it is for (its own settings).
struct PlannedProblem {
  Problem problem;
  Plan plan;
  /// Of a plan with memory modes, which problem and plan then show as operators; nothing for others.
  std::optional<ProblemWithMovements> movements = {};
  std::string times_from = {};  ///< as times_from() has it
};
/// Reads all three files. The plan is parsed and fits the problem; whether it obeys the rules is
/// for `check` to say.
/// \throws InputError where the plan has memory modes and they are refused
[[nodiscard]] PlannedProblem load_planned_problem(const InputFiles& files, const std::filesystem::path& plan,
                                                  Modes modes = Modes::kRefuse);
/// The same for commands that present the plan as one.
/// \throws InputError naming the first broken rule if the plan is not valid.
[[nodiscard]] PlannedProblem load_valid_plan(const InputFiles& files, const std::filesystem::path& plan,
                                             Modes modes = Modes::kRefuse);

}  // namespace opweave::cli
