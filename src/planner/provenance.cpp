#include "planner/provenance.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

namespace opweave {
namespace {

std::string work_limit(const Budget& budget) {
  return budget.work_limit() ? fmt::format("work {}", *budget.work_limit()) : "";
}
std::string time_limit(const Budget& budget) {
  return budget.time_limit_seconds() ? fmt::format("time {} s", *budget.time_limit_seconds()) : "";
}

/// "work 1000", "time 60 s", "work 1000, time 60 s" or "none".
std::string describe_limits(const Budget& budget) {
  const std::string work = work_limit(budget);
  const std::string time = time_limit(budget);
  if (work.empty() && time.empty()) return "none";
  return fmt::format("{}{}{}", work, work.empty() || time.empty() ? "" : ", ", time);
}

}  // namespace

std::string reached_limit(const Budget& budget, bool is_optimal) {
  if (budget.stopped()) return "interrupt";
  if (is_optimal) return "";
  // A search ends before its deadline where its next step, or the next share of the time, would not fit any more.
  constexpr double kNoRoom = 0.5;
  const std::optional<double> left = budget.remaining();
  const bool time_is_up = budget.expired() || (left && *left < kNoRoom * *budget.time_limit_seconds());
  return time_is_up ? time_limit(budget) : work_limit(budget);
}

Provenance provenance_of(const Budget& budget, const PlannerOptions& options, std::string method,
                         std::vector<Improvement> trajectory) {
  Provenance provenance;
  provenance.version = OPWEAVE_VERSION;
  provenance.method = std::move(method);
  provenance.seed = options.seed;
  provenance.limit = describe_limits(budget);
  if (!budget.work_limit()) {
    provenance.seconds = budget.elapsed();
    provenance.trajectory = std::move(trajectory);
  }
  return provenance;
}

}  // namespace opweave
