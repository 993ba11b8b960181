/// What `opweave convert` converts: each kind is a subcommand of it.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>

#include "cli/command.h"
#include "cli/command_files.h"
#include "opweave/io.h"

namespace opweave::cli {

void add_convert_pipeline(CLI::App& convert, Action& action);
void add_convert_fjs(CLI::App& convert, Action& action);
void add_convert_jsp(CLI::App& convert, Action& action);
void add_convert_msr(CLI::App& convert, Action& action);
void add_convert_csv(CLI::App& convert, Action& action);
void add_convert_expert(CLI::App& convert, Action& action);
void add_convert_hf(CLI::App& convert, Action& action);
void add_convert_strategy(CLI::App& convert, Action& action);
void add_convert_recipe(CLI::App& convert, Action& action);
void add_convert_topology(CLI::App& convert, Action& action);

/// Where a graph and a cluster are written: both are needed to plan.
struct ProblemOutput {
  std::filesystem::path graph;
  std::filesystem::path cluster;

  void add_to(CLI::App& command);
  [[nodiscard]] std::vector<NamedFile> named() const { return {{"--output", graph}, {"--cluster", cluster}}; }
  void write(const ComputationGraph& graph_value, const Cluster& cluster_value) const;
};

}  // namespace opweave::cli
