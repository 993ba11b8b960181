#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <exception>

#include "cli/command.h"
#include "cli/output.h"
#include "opweave/error.h"

namespace opweave::cli {
namespace {

ExitCode input_error(std::string_view message, std::string_view hint) {
  complain("error", message);
  if (!hint.empty()) complain("hint", hint);
  return ExitCode::kInputError;
}

/// The subcommand that was being read when parsing failed, for the hint.
std::string chosen(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  return commands.empty() ? "" : commands.front()->get_name() + " ";
}

ExitCode run(int argc, char** argv) {
  CLI::App app(
      "opweave plans how the operators of a neural network are placed and ordered on the devices of a cluster.",
      "opweave");
  app.footer(
      "Exit codes: 0 done, 2 wrong input, 3 no plan, 70 a bug in opweave, 130 interrupted.\n"
      "`opweave COMMAND --help` shows examples.");
  app.require_subcommand(1);
  Action action;
  add_plan(app, action);
  add_check(app, action);
  add_simulate(app, action);
  add_bounds(app, action);
  add_pareto(app, action);
  add_compare(app, action);
  add_convert(app, action);
  add_report(app, action);
  add_explain(app, action);
  add_show(app, action);
  add_diff(app, action);
  add_what_if(app, action);
  add_completion(app, action);
  add_manual(app, action);
  add_partition(app, action);
  add_version(app, action);

  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    print(app.help());
    return ExitCode::kDone;
  } catch (const CLI::ParseError& error) {
    return input_error(error.what(), fmt::format("see `opweave {}--help`", chosen(app)));
  }
  return action();
}

}  // namespace
}  // namespace opweave::cli

int main(int argc, char** argv) {
  using namespace opweave::cli;
  // A reader that closes its end of a pipe shows up as an error of write(), not as a signal.
  std::signal(SIGPIPE, SIG_IGN);
  ExitCode code = ExitCode::kInternalError;
  try {
    code = run(argc, argv);
  } catch (const opweave::InputError& error) {
    code = input_error(error.what(), error.hint());
  } catch (const std::bad_alloc&) {
    complain("error", "out of memory");
  } catch (const std::exception& error) {
    complain("error", fmt::format("internal error: {}", error.what()));
    complain("hint", "this is a bug in opweave: please report it with the files and the command line");
  }
  return static_cast<int>(code);
}
