#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace opweave::cli {
namespace {

std::string_view variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : std::string_view(value);
}

bool locale_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string_view value = variable(name);
    if (value.empty()) continue;  // the next one decides
    return value.find("UTF-8") != value.npos || value.find("utf8") != value.npos || value.find("utf-8") != value.npos;
  }
  return false;
}

}  // namespace

Terminal terminal(const std::string& when) {
  constexpr std::size_t kNarrowest = 40;
  constexpr std::size_t kWidest = 1000;
  Terminal result;
  const bool is_terminal = ::isatty(STDOUT_FILENO) == 1;
  winsize size{};
  if (is_terminal && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    result.columns = size.ws_col;
  } else if (const long columns = std::strtol(std::string(variable("COLUMNS")).c_str(), nullptr, 10); columns > 0) {
    result.columns = static_cast<std::size_t>(columns);
  }
  result.columns = std::min(kWidest, std::max(kNarrowest, result.columns));
  result.colour =
      when == "always" || (when == "auto" && is_terminal && variable("NO_COLOR").empty() && variable("TERM") != "dumb");
  result.unicode = locale_is_utf8();
  return result;
}

}  // namespace opweave::cli
