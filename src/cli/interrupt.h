/// Ctrl-C without losing work.
#pragma once

#include <atomic>

namespace opweave::cli {

/// From now on SIGINT and SIGTERM end the process at once, with one line and ExitCode::kInterrupted: as long as files
/// are read, nothing would be lost. A signal that the process was started to ignore stays ignored.
void end_on_interrupts();

/// From now on the first SIGINT or SIGTERM sets the returned flag, for a Budget to watch, and ends what waits for the
/// other end of a pipe; a second one ends the process at once.
[[nodiscard]] const std::atomic<bool>& catch_interrupts();

/// The flag of catch_interrupts().
[[nodiscard]] bool is_interrupted();

}  // namespace opweave::cli
