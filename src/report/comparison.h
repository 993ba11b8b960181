/// Ours beside the experts': what compare prints and what a report shows.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "opweave/experts.h"
#include "opweave/plan.h"
#include "opweave/problem.h"
#include "opweave/report.h"

namespace opweave {

/// A row of a report, with the largest number of activations that a device holds at a time: one
/// activation is what a microbatch keeps for its backward on all devices together, divided by the
/// devices. Nothing for graphs that keep nothing.
struct ComparedSchedule {
  ComparisonRow row;
  std::optional<double> peak_activations;
};

/// All published schedules that apply to one problem, the plan if there is one, and the bound that
/// they share.
struct Comparison {
  std::string problem;  ///< the graph's name
  LowerBound bound;
  std::vector<ComparedSchedule> schedules;  ///< longest makespan first, the plan last
  std::vector<std::string> left_out;        ///< schedules for the same placement that are not defined for these sizes:
                                            ///< "DualPipe needs an even number of devices, got 3"
};

/// The published schedules that apply; where the problem asks for blocks (docs/blocks.md), in pieces as well.
[[nodiscard]] std::vector<ExpertPlan> published_schedules(const Problem& problem);

/// Simulates the experts on the problem. The bound is the plan's best, or computed where there is no plan.
[[nodiscard]] Comparison compare_schedules(const Problem& problem, const Plan* plan);

/// The rows alone, for report_html.
[[nodiscard]] std::vector<ComparisonRow> rows_of(const Comparison& comparison);

/// One table over several problems, for people.
[[nodiscard]] std::string comparison_table(const std::vector<Comparison>& comparisons);

}  // namespace opweave
