#include "cli/output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "opweave/error.h"
#include "opweave/io.h"

namespace opweave::cli {

void print(std::string_view text) {
  // write() rather than a stream: every failure is seen, and seen with its reason.
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EPIPE) {
      return;
    } else if (errno != EINTR) {
      throw InputError(fmt::format("standard output: {}", std::strerror(errno)));
    }
  }
}

void complain(std::string_view kind, std::string_view message) {
  std::string line = fmt::format("{}: {}", kind, message);
  for (char& c : line) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  line += '\n';
  // Nothing sensible is left to do when even this fails.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

void deliver(const std::filesystem::path& path, std::string_view text) {
  if (path.empty()) {
    print(text);
  } else {
    write_file(path, text);
  }
}

void expect_deliverable(std::initializer_list<std::filesystem::path> paths) {
  for (const std::filesystem::path& path : paths) {
    if (!path.empty()) expect_writable(path);
  }
}

bool somebody_watches() { return ::isatty(STDERR_FILENO) == 1; }

}  // namespace opweave::cli
