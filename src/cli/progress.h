/// One line on the terminal that tells how planning goes.
#pragma once

#include "opweave/planner.h"

namespace opweave::cli {

/// Shows incumbent, bound, gap, time and method on standard error, rewritten in place at most ten
/// times a second and erased at the end. Silent unless standard error is a terminal.
class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void show(const Progress& progress);
  /// Removes the line from the screen.
  void erase();

 private:
  bool enabled_;
  bool visible_ = false;
  double last_shown_ = -1;  // seconds; negative = never
};

}  // namespace opweave::cli
