#include "cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <string_view>

#include "cli/command.h"

namespace opweave::cli {
namespace {

std::atomic<bool> has_work_to_save = false;
std::atomic<bool> interrupt_flag = false;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may only touch lock-free atomics");

void on_signal(int) {
  if (has_work_to_save && !interrupt_flag.exchange(true)) return;
  constexpr std::string_view kLine = "error: interrupted\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kLine.data(), kLine.size());
  _exit(static_cast<int>(ExitCode::kInterrupted));
}

}  // namespace

void end_on_interrupts() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM}) {
    struct sigaction inherited = {};
    sigaction(signal, nullptr, &inherited);
    // No SA_RESTART: opening a pipe may wait forever for the other end.
    if (inherited.sa_handler != SIG_IGN) sigaction(signal, &action, nullptr);
  }
}

const std::atomic<bool>& catch_interrupts() {
  has_work_to_save = true;
  return interrupt_flag;
}

bool is_interrupted() { return interrupt_flag; }

}  // namespace opweave::cli
