/// The subcommands of opweave. Each function adds one to the command line; when the user chose it,
/// `action` is what to run. Actions throw InputError and InternalError; main() prints them.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace opweave::cli {

/// What the process returns; docs of each subcommand speak of these.
enum class ExitCode : int {
  kDone = 0,            ///< also when a limit ended the search with a plan in hand
  kInputError = 2,      ///< a file, an option or a plan is wrong
  kNoPlan = 3,          ///< none exists, or none was found within the limits
  kOutOfMemory = 4,     ///< memory was the limit that was reached first, before there was a plan
  kInternalError = 70,  ///< our bug
  kInterrupted = 130,   ///< SIGINT or SIGTERM; the best plan so far has been written
};

using Action = std::function<ExitCode()>;

void add_plan(CLI::App& app, Action& action);
void add_check(CLI::App& app, Action& action);
void add_simulate(CLI::App& app, Action& action);
void add_bounds(CLI::App& app, Action& action);
void add_pareto(CLI::App& app, Action& action);
void add_compare(CLI::App& app, Action& action);
void add_calibrate(CLI::App& app, Action& action);
void add_parallelize(CLI::App& app, Action& action);
void add_sweep(CLI::App& app, Action& action);
void add_convert(CLI::App& app, Action& action);
void add_report(CLI::App& app, Action& action);
void add_explain(CLI::App& app, Action& action);
void add_show(CLI::App& app, Action& action);
void add_diff(CLI::App& app, Action& action);
void add_what_if(CLI::App& app, Action& action);
/// Both describe all the other commands, as they are when they run.
void add_completion(CLI::App& app, Action& action);
void add_manual(CLI::App& app, Action& action);
void add_partition(CLI::App& app, Action& action);
void add_stages(CLI::App& app, Action& action);
void add_version(CLI::App& app, Action& action);

}  // namespace opweave::cli
