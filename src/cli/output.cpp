#include "cli/output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "opweave/error.h"
#include "opweave/io.h"
#include "report/names.h"

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
  std::string words(message);
  std::ranges::replace_if(
      words, [](char c) { return c == '\n' || c == '\r'; }, ' ');
  const std::string line = fmt::format("{}: {}\n", kind, readable(words));
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

bool somebody_watches() { return ::isatty(STDERR_FILENO) == 1; }

}  // namespace opweave::cli
