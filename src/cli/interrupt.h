/// Ctrl-C without losing work.
#pragma once

#include <atomic>

namespace opweave::cli {

/// From now on the first SIGINT or SIGTERM sets the returned flag, for a Budget to watch; a second
/// one ends the process at once with ExitCode::kInterrupted.
[[nodiscard]] const std::atomic<bool>& catch_interrupts();

}  // namespace opweave::cli
