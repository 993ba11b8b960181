/// The other side of --on: `opweave worker`.
#pragma once

#include "cli/command.h"

namespace opweave::cli {

void add_worker(CLI::App& app, Action& action);

}  // namespace opweave::cli
