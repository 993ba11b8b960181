/// Pictures of a plan.
#pragma once

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

/// One offline HTML page: Gantt per device and stream, memory curves with their limits, comparison.
[[nodiscard]] std::string report_html(const Problem& problem, const Plan& plan,
                                      const std::vector<ComparisonRow>& comparison);

/// Chrome trace JSON for Perfetto: process per device, track per stream, flows for transfers, memory counters.
[[nodiscard]] std::string perfetto_trace(const Problem& problem, const Plan& plan);

}  // namespace opweave
