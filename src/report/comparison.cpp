#include "report/comparison.h"

#include <fmt/format.h>

#include <algorithm>

#include "opweave/bounds.h"
#include "opweave/error.h"
#include "opweave/experts.h"
#include "opweave/pipeline.h"
#include "planner/block_problem.h"
#include "report/format.h"

namespace opweave {
namespace {

ComparedSchedule compared(const Problem& problem, std::string name, const PlanStatistics& figures,
                          const LowerBound& bound) {
  ComparedSchedule result;
  ComparisonRow& row = result.row;
  row.name = std::move(name);
  row.makespan = figures.makespan;
  row.bubble_ratio = figures.bubble_ratio;
  row.parameter_copies = figures.parameter_copies;
  const Bytes kept = activation_bytes(problem.graph());
  Bytes most_held;
  for (std::size_t d = 0; d < figures.devices.size(); ++d) {
    const DeviceStatistics& device = figures.devices[d];
    row.peak_memory = std::max(row.peak_memory, device.peak_memory);
    most_held = std::max(most_held, device.peak_memory - device.persistent_memory);
    const auto capacity = problem.capacity(DeviceId(d));
    if (capacity && device.peak_memory > *capacity) row.fits_memory = false;
  }
  // The bound is one for plans that fit; others may be shorter.
  if (row.fits_memory && figures.makespan > Duration()) {
    row.gap =
        static_cast<double>((figures.makespan - bound.value).value()) / static_cast<double>(figures.makespan.value());
  }
  if (kept > Bytes()) {
    result.peak_activations = static_cast<double>(most_held.value()) * static_cast<double>(figures.devices.size()) /
                              static_cast<double>(kept.value());
  }
  return result;
}

/// Two copies of the parameters are what a two-way schedule is for, even where none of them is defined.
std::vector<std::string> undefined_experts(const Problem& problem, const std::vector<ExpertPlan>& experts) {
  const Training& training = problem.settings().training;
  const bool has_stages =
      std::ranges::any_of(problem.graph().operators(), [](const Operator& op) { return op.stage.has_value(); });
  const auto applies = [&](PipelineShape shape) {
    return (shape == PipelineShape::kTwoWay && training.replicas == 2 && has_stages) ||
           std::ranges::any_of(experts, [&](const ExpertPlan& plan) { return shape_of(plan.expert) == shape; });
  };
  ExpertSize size;
  size.devices = static_cast<std::uint32_t>(problem.cluster().device_count());
  size.microbatches = training.microbatches;
  std::vector<std::string> result;
  for (const Expert expert : kAllExperts) {
    const auto reason = why_undefined(expert, size);
    if (reason && applies(shape_of(expert))) result.push_back(fmt::format("{} {}", to_string(expert), *reason));
  }
  return result;
}

/// "opweave" for what it found; plans of other origin are named after that, as far as they say it.
std::string name_of(const Plan& plan) {
  const std::string& method = plan.provenance.method;
  if (plan.provenance.version.empty() || method.empty()) return "plan";
  const bool is_read = method == kReadSchedule || method.starts_with(kReadSolution);
  return is_read ? fmt::format("plan ({})", method) : "opweave";
}

}  // namespace

std::vector<ExpertPlan> published_schedules(const Problem& problem) {
  if (problem.settings().blocks == Blocks::kNone) return expert_plans(problem);
  const BlockProblem blocks(problem, {});
  std::vector<ExpertPlan> plans = expert_plans(blocks.problem());
  for (ExpertPlan& expert : plans) expert.schedule = blocks.expand(expert.schedule);
  return plans;
}

Comparison compare_schedules(const Problem& problem, const Plan* plan) {
  if (problem.settings().training.reduces_gradients()) {
    throw InputError(
        "gradients are reduced (reduction_stream), which comparisons with published schedules do not know");
  }
  Comparison comparison;
  comparison.problem = problem.graph().name();
  const std::vector<LowerBound> bounds =
      plan != nullptr && !plan->bounds.empty() ? plan->bounds : lower_bounds(problem);
  comparison.bound = bounds.front();
  const std::vector<ExpertPlan> experts = published_schedules(problem);
  for (const ExpertPlan& expert : experts) {
    comparison.schedules.push_back(
        compared(problem, expert.name, statistics(problem, expert.schedule), comparison.bound));
  }
  comparison.left_out = undefined_experts(problem, experts);
  std::stable_sort(
      comparison.schedules.begin(), comparison.schedules.end(),
      [](const ComparedSchedule& a, const ComparedSchedule& b) { return a.row.makespan > b.row.makespan; });
  if (plan != nullptr) {
    comparison.schedules.push_back(compared(problem, name_of(*plan), plan->statistics, comparison.bound));
  }
  return comparison;
}

std::vector<ComparisonRow> rows_of(const Comparison& comparison) {
  std::vector<ComparisonRow> rows;
  for (const ComparedSchedule& schedule : comparison.schedules) rows.push_back(schedule.row);
  return rows;
}

std::string comparison_table(const std::vector<Comparison>& comparisons) {
  std::vector<std::vector<std::string>> lines = {{"problem", "schedule", "makespan", "gap", "bubble",
                                                  "peak activations", "peak memory", "fits", "parameter copies"}};
  for (const Comparison& comparison : comparisons) {
    for (const auto& [row, activations] : comparison.schedules) {
      lines.push_back({comparison.problem, row.name, human(row.makespan), row.gap ? percent(*row.gap) : "-",
                       percent(row.bubble_ratio), activations ? fmt::format("{:.2f}", *activations) : "-",
                       human(row.peak_memory), row.fits_memory ? "yes" : "no", std::to_string(row.parameter_copies)});
    }
    lines.push_back({comparison.problem, fmt::format("lower bound ({})", comparison.bound.name),
                     human(comparison.bound.value), "", "", "", "", "", ""});
  }
  std::string text = table(lines);
  for (const Comparison& comparison : comparisons) {
    for (const std::string& reason : comparison.left_out) {
      text += fmt::format("{}: left out: {}\n", comparison.problem, reason);
    }
  }
  return text;
}

}  // namespace opweave
