/// Pictures of a plan.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "opweave/plan.h"
#include "opweave/problem.h"

namespace opweave {

/// One row of a comparison: a schedule for the same problem, ours or an expert's.
struct ComparisonRow {
  std::string name;
  Duration makespan;
  double bubble_ratio = 0;
  Bytes peak_memory;  ///< largest over devices
  std::uint32_t parameter_copies = 0;
  bool fits_memory = true;
  std::optional<double> gap;  ///< to the lower bound
};

/// What the page says that neither problem nor plan knows.
struct ReportNotes {
  std::optional<std::int64_t> tokens_per_microbatch;
  std::string times;  ///< where the durations come from: "measured on cpu x 1"; empty = nothing is known
};

/// One HTML page that needs no network: key figures, Gantt per device and stream, memory curves with their limits,
/// transfers on demand, comparison, bounds, search over time, provenance (docs/report.md). `comparison` is shown in
/// its order and may be empty. Names may be any text. O(n log n), some 50 bytes per task.
/// \pre plan is a plan for problem. \throws InputError as to_schedule if it is not.
[[nodiscard]] std::string report_html(const Problem& problem, const Plan& plan,
                                      const std::vector<ComparisonRow>& comparison, const ReportNotes& notes = {});

/// Chrome trace JSON for Perfetto: process per device, track per stream, flows for transfers, memory counters
/// (docs/report.md). Times are microseconds with three decimals, so every nanosecond is kept. O(n log n).
/// \pre as for report_html.
[[nodiscard]] std::string perfetto_trace(const Problem& problem, const Plan& plan);

}  // namespace opweave
