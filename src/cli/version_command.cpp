#include "cli/command.h"
#include "cli/output.h"

namespace opweave::cli {

void add_version(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("version", "print the version");
  command->callback([&action] {
    action = [] {
      print("opweave " OPWEAVE_VERSION "\n");
      return ExitCode::kDone;
    };
  });
}

}  // namespace opweave::cli
