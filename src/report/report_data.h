/// What the page of the report shows, as compact JSON.
#pragma once

#include <string>
#include <vector>

#include "opweave/report.h"

namespace opweave {

/// Columns rather than records, and differences for numbers that grow, so that the size stays at a few
/// bytes per number; docs/report.md lists them. Contains no "<", so it may stand inside <script>.
[[nodiscard]] std::string report_data(const Problem& problem, const Plan& plan,
                                      const std::vector<ComparisonRow>& comparison, const ReportNotes& notes);

}  // namespace opweave
