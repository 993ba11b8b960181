#include "cli/sweep_progress.h"

#include <fmt/format.h>

#include <cstdio>

#include "cli/output.h"
#include "report/format.h"
#include "report/names.h"

namespace opweave::cli {

SweepProgress::SweepProgress(std::size_t points) : points_(points), is_watched_(somebody_watches()) {}

SweepProgress::~SweepProgress() { end(); }

void SweepProgress::show(const SweepRow& row) {
  ++done_;
  if (!is_watched_) return;
  if (row.has_strategy() && (cheapest_ == 0 || row.device_hours() < cheapest_)) {
    cheapest_ = row.device_hours();
    best_ = fmt::format("  cheapest {} x {}, batch {} x {}: {:.4f} device-hours per million tokens", row.devices,
                        readable(row.device), row.global_batch, row.sequence, cheapest_);
  }
  const double left = clock_.elapsed() / static_cast<double>(done_) * static_cast<double>(points_ - done_);
  fmt::print(stderr, "\r{} of {} points  {:.0f} s  {:.0f} s left{}\x1b[K", done_, points_, clock_.elapsed(), left,
             best_);
  std::fflush(stderr);
}

void SweepProgress::end() {
  if (!is_watched_ || done_ == 0) return;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
  done_ = 0;
}

}  // namespace opweave::cli
