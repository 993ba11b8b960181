#include <iostream>

#include "cli/worker_command.h"
#include "distribute/serve.h"

namespace opweave::cli {

void add_worker(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("worker", "answers tasks of --on, line by line: started by opweave itself");
  command->footer(
      "The lines are described in docs/distributed.md. It ends with its input.\n\n"
      "Example:\n"
      "  OPWEAVE_WORKER=./with-limits opweave sweep run ...   # ./with-limits ends with: exec opweave worker");
  command->callback([&action] { action = []() -> ExitCode { distribute::serve(std::cin, stdout); }; });
}

}  // namespace opweave::cli
