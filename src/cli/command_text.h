/// The command line as plans state it.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace opweave::cli {

/// What the user gave to a parsed command, ready for a POSIX shell: its arguments in their order, without those named
/// in `unsaid`. Files stand there without their folders, so that it does not depend on where inputs lie or where the
/// command runs: which content they had is for the hashes to say. Bytes that are no UTF-8 become the replacement
/// character.
/// \param unsaid  as given to add_option: "--report"
[[nodiscard]] std::string command_text(const CLI::App& command, const std::vector<std::string>& unsaid);

}  // namespace opweave::cli
