#include "cli/progress.h"

#include <fmt/format.h>

#include <cstdio>
#include <string>

#include "cli/output.h"
#include "report/format.h"

namespace opweave::cli {

ProgressLine::ProgressLine() : enabled_(somebody_watches()) {}

ProgressLine::~ProgressLine() { erase(); }

void ProgressLine::show(const Progress& progress) {
  // Where a command searches several times, the clock of each begins at 0.
  if (!enabled_ || (progress.seconds >= last_shown_ && progress.seconds < last_shown_ + 0.1)) return;
  last_shown_ = progress.seconds;
  std::string line = fmt::format("{:6.1f} s", progress.seconds);
  if (progress.makespan) {
    const auto makespan = static_cast<double>(progress.makespan->value());
    const auto bound = static_cast<double>(progress.lower_bound.value());
    line += fmt::format("  makespan {}  gap {}", human(*progress.makespan),
                        percent(makespan > 0 ? (makespan - bound) / makespan : 0));
  } else {
    line += "  no plan yet";
  }
  line += fmt::format("  bound {}  {}", human(progress.lower_bound), progress.method);
  // "\x1b[K" clears what a longer line left behind.
  fmt::print(stderr, "\r{}\x1b[K", line);
  std::fflush(stderr);
  visible_ = true;
}

void ProgressLine::erase() {
  if (!visible_) return;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
  visible_ = false;
}

}  // namespace opweave::cli
