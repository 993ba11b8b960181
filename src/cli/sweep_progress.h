/// How a sweep goes, on one line of the terminal.
#pragma once

#include <cstddef>
#include <optional>

#include "opweave/budget.h"
#include "opweave/sweep.h"

namespace opweave::cli {

/// Points done, the best so far and the time left, on standard error where somebody watches.
class SweepProgress {
 public:
  /// \param points  to be done in this run
  explicit SweepProgress(std::size_t points);
  SweepProgress(const SweepProgress&) = delete;
  SweepProgress& operator=(const SweepProgress&) = delete;
  ~SweepProgress();

  void show(const SweepRow& row);
  void end();

 private:
  const std::size_t points_;
  const bool is_watched_;
  const Budget clock_;
  std::size_t done_ = 0;
  double cheapest_ = 0;  ///< device-hours per million tokens; 0 = none yet
  std::string best_;
};

}  // namespace opweave::cli
