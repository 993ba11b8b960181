#include "planner/any_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "exact/any_schedule.h"
#include "exact/schedule_space.h"
#include "planner/incumbent.h"
#include "planner/infeasibility_cause.h"

namespace opweave {
namespace {

using Verdict = exact::AnySchedule::Verdict;

/// Choices of the largest problem that is decided whatever the work limit says, and the work for it, as for CP-SAT on
/// larger ones per unit of the limit: deterministic seconds.
constexpr std::size_t kMostChoicesOfSmall = 600;
constexpr double kWorkForSmall = 60;
constexpr double kWorkPerUnit = 1e-3;

exact::AnyScheduleOptions solver_options(const Problem& problem, const Budget& budget, std::uint64_t seed) {
  exact::AnyScheduleOptions options;
  options.seed = seed;
  if (budget.work_limit()) options.work = kWorkPerUnit * static_cast<double>(*budget.work_limit());
  if (exact::choice_count(problem) <= kMostChoicesOfSmall) {
    options.work = std::max(options.work.value_or(0), kWorkForSmall);
  }
  return options;
}

}  // namespace

AnyPlan find_any_plan(const Problem& problem, const Budget& budget, const PlannerOptions& options) {
  AnyPlan result;
  if (options.method == Method::kHeuristic) return result;
  exact::AnySchedule answer = exact::find_any_schedule(problem, budget, solver_options(problem, budget, options.seed));
  if (answer.verdict == Verdict::kNone) {
    result.is_infeasible = true;
    const auto has_no_plan = [&](const Problem& other) {
      const auto limits = solver_options(other, budget, options.seed);
      return !budget.expired() && exact::find_any_schedule(other, budget, limits).verdict == Verdict::kNone;
    };
    result.detail = fmt::format("the solver proves that nothing keeps to all of the {}",
                                infeasibility_cause(problem, has_no_plan));
  } else if (answer.verdict == Verdict::kExists && is_valid(problem, *answer.schedule)) {
    result.schedule = std::move(answer.schedule);
    result.method = "cp-sat";
  } else {
    result.detail = std::move(answer.message);
  }
  return result;
}

}  // namespace opweave
