#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <csignal>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/worker_command.h"
#include "io/message.h"
#include "opweave/error.h"

namespace opweave::cli {
namespace {

ExitCode input_error(std::string_view message, std::string_view hint) {
  complain("error", message);
  if (!hint.empty()) complain("hint", hint);
  return ExitCode::kInputError;
}

/// How far the words of the command line lead down the commands: "convert pipeline" in `opweave convert pipeline x`.
struct Reached {
  const CLI::App* command;
  std::string name = "opweave";
  std::string unknown = {};  ///< the word that stands where a command is expected

  Reached(const CLI::App& app, int argc, char** argv) : command(&app) {
    for (int i = 1; i < argc && unknown.empty(); ++i) {
      const std::vector<const CLI::App*> below = commands_below();
      if (below.empty() || argv[i][0] == '-') return;
      const auto found = std::ranges::find(below, std::string_view(argv[i]), [](auto* c) { return c->get_name(); });
      if (found == below.end()) {
        unknown = argv[i];
      } else {
        command = *found;
        name += " " + command->get_name();
      }
    }
  }
  [[nodiscard]] std::vector<const CLI::App*> commands_below() const {
    return command->get_subcommands([](const CLI::App*) { return true; });
  }
  /// "opweave diff A B, or GRAPH CLUSTER A B".
  [[nodiscard]] std::string usage() const {
    std::string text = name;
    for (const CLI::Option* option : command->get_options()) {
      // Where a list of files may mean several things, its description says which.
      const std::string positional = option->get_positional() ? option->get_name(true) : "";
      if (!positional.empty()) text += " " + (positional == "FILES" ? option->get_description() : positional);
    }
    return text;
  }
};

/// An error in the words of CLI11 in ours: small first letter, and what a missing command is.
ExitCode usage_error(const CLI::ParseError& error, const Reached& reached) {
  if (!reached.unknown.empty()) {
    std::vector<std::string> names;
    for (const CLI::App* command : reached.commands_below()) names.push_back(command->get_name());
    const std::vector<std::string_view> candidates(names.begin(), names.end());
    std::string advice = io::did_you_mean(reached.unknown, candidates);
    if (advice.empty()) {
      constexpr std::size_t kFew = 3;
      const std::string all = names.size() <= kFew ? fmt::format("commands are {}; ", fmt::join(names, " and ")) : "";
      advice = fmt::format("{}see `{} --help`", all, reached.name);
    }
    return input_error(fmt::format("{}: command {} is unknown", reached.name, io::text_in_quotes(reached.unknown)),
                       advice);
  }
  std::string message = error.what();
  if (!reached.commands_below().empty()) message = reached.name + ": a command is missing";
  if (message.size() > 1 && (std::islower(static_cast<unsigned char>(message[1])) != 0 || message[1] == ' ')) {
    message[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(message[0])));
  }
  const bool lacks_files = dynamic_cast<const CLI::RequiredError*>(&error) != nullptr ||
                           dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr;
  const std::string usage = lacks_files && reached.commands_below().empty() ? reached.usage() + "; " : "";
  return input_error(message, fmt::format("{}see `{} --help`", usage, reached.name));
}

ExitCode run(int argc, char** argv) {
  CLI::App app(
      "opweave plans how the operators of a neural network are placed and ordered on the devices of a cluster.",
      "opweave");
  app.footer(
      "Exit codes: 0 done, 2 wrong input, 3 no plan, 4 out of memory, 70 a bug in opweave, 130 interrupted.\n"
      "`opweave COMMAND --help` shows examples.");
  app.require_subcommand(1);
  app.set_version_flag("--version", "opweave " OPWEAVE_VERSION, "Print the version and exit");
  Action action;
  add_plan(app, action);
  add_check(app, action);
  add_simulate(app, action);
  add_bounds(app, action);
  add_pareto(app, action);
  add_compare(app, action);
  add_parallelize(app, action);
  add_calibrate(app, action);
  add_sweep(app, action);
  add_convert(app, action);
  add_report(app, action);
  add_explain(app, action);
  add_show(app, action);
  add_diff(app, action);
  add_what_if(app, action);
  add_completion(app, action);
  add_manual(app, action);
  add_partition(app, action);
  add_stages(app, action);
  add_worker(app, action);
  add_version(app, action);

  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    print(app.help());
    return ExitCode::kDone;
  } catch (const CLI::CallForVersion& version) {
    print(std::string(version.what()) + "\n");
    return ExitCode::kDone;
  } catch (const CLI::ParseError& error) {
    return usage_error(error, Reached(app, argc, argv));
  }
  return action();
}

}  // namespace
}  // namespace opweave::cli

int main(int argc, char** argv) {
  using namespace opweave::cli;
  // A reader that closes its end of a pipe shows up as an error of write(), not as a signal.
  std::signal(SIGPIPE, SIG_IGN);
  end_on_interrupts();
  ExitCode code = ExitCode::kInternalError;
  try {
    code = run(argc, argv);
  } catch (const opweave::InputError& error) {
    code = input_error(error.what(), error.hint());
    if (is_interrupted()) code = ExitCode::kInterrupted;  // it no longer waited for the other end of a pipe
  } catch (const std::bad_alloc&) {
    complain("error", "out of memory");
    code = ExitCode::kOutOfMemory;
  } catch (const std::exception& error) {
    complain("error", fmt::format("internal error: {}", error.what()));
    complain("hint", "this is a bug in opweave: please report it with the files and the command line");
  }
  return static_cast<int>(code);
}
