#include "planner/any_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "exact/any_schedule.h"
#include "exact/schedule_space.h"
#include "placement_search/fitting_search.h"
#include "planner/incumbent.h"
#include "planner/infeasibility_cause.h"

namespace opweave {
namespace {

using Verdict = exact::AnySchedule::Verdict;

/// Deterministic seconds of the solver, on problems that are not small, per unit of the work limit, and where nothing
/// is limited.
constexpr double kWorkPerUnit = 1e-3;
constexpr double kDefaultFeasibilityWork = 60;
/// Choices of the largest problem that the solver is asked about.
constexpr std::size_t kMostSolverChoices = 50'000;
/// Attempts of the search before the solver is asked for the first time, the same of small problems, where they cost
/// nothing, and where nothing limits them.
constexpr std::uint64_t kFirstAttempts = 8;
constexpr std::uint64_t kAttemptsOfSmall = 200;
constexpr std::uint64_t kDefaultAttempts = 1000;
/// Seconds of the first round of search and solver, of which each is twice as long as the one before.
constexpr double kFirstFeasibilityRound = 0.5;

class AnyPlanSearch {
 public:
  AnyPlanSearch(const Problem& problem, const Budget& budget, const PlannerOptions& options)
      : problem_(problem),
        budget_(budget),
        seed_(options.seed),
        search_(problem, options.seed),
        choices_(exact::choice_count(problem)),
        asks_solver_(options.method != Method::kHeuristic && choices_ <= kMostSolverChoices) {}

  AnyPlan run() {
    attempt(budget_, is_small() ? kAttemptsOfSmall : kFirstAttempts);
    if (is_small()) ask(budget_);
    const bool by_clock = budget_.remaining() && !budget_.work_limit();
    if (!by_clock) {
      attempt(budget_, budget_.work_limit().value_or(kDefaultAttempts));
      ask(budget_);
    }
    for (double round = kFirstFeasibilityRound; by_clock && !is_settled() && !budget_.expired(); round *= 2) {
      // A last round that would be cut short is shared out over what is left instead.
      const double left = *budget_.remaining();
      const double whole = left < 2 * round ? left : round;
      attempt(part_of(asks_solver_ ? whole / 2 : whole), attempts_ + kMostAttemptsOfRound);
      ask(part_of(whole / 2));
    }
    if (!is_settled()) describe();
    return std::move(result_);
  }

 private:
  static constexpr std::uint64_t kMostAttemptsOfRound = 1'000'000'000;

  [[nodiscard]] bool is_small() const { return choices_ <= exact::kMostChoicesOfSmall; }
  [[nodiscard]] bool is_settled() const { return result_.schedule || result_.is_infeasible; }
  [[nodiscard]] Budget part_of(double seconds) const {
    return budget_.share(std::min(1.0, seconds / std::max(1e-9, *budget_.remaining())));
  }

  /// Until there have been so many in all.
  void attempt(const Budget& budget, std::uint64_t most) {
    while (!is_settled() && attempts_ < most && !budget.expired()) {
      ++attempts_;
      take(search_.attempt(budget), "fitting search");
    }
  }

  void take(std::optional<Schedule> schedule, const char* method) {
    if (!schedule || !is_valid(problem_, *schedule)) return;
    result_.schedule = std::move(schedule);
    result_.method = method;
  }

  [[nodiscard]] exact::AnySchedule answer_about(const Problem& problem, const Budget& budget) const {
    exact::AnyScheduleOptions options;
    options.seed = seed_;
    if (is_small()) return exact::ask_if_small(problem, budget, options);
    if (budget.work_limit()) options.work = kWorkPerUnit * static_cast<double>(*budget.work_limit());
    if (!budget.work_limit() && !budget.remaining()) options.work = kDefaultFeasibilityWork;
    return exact::find_any_schedule(problem, budget, options);
  }

  void ask(const Budget& budget) {
    if (!asks_solver_ || is_settled() || budget.expired()) return;
    exact::AnySchedule answer = answer_about(problem_, budget);
    said_ = std::move(answer.message);
    // One that is missing, breaks down or ignores its limits is not asked again.
    asks_solver_ = answer.message.empty() && !answer.abandoned;
    take(std::move(answer.schedule), "cp-sat");
    if (answer.verdict != Verdict::kNone) return;
    result_.is_infeasible = true;
    const auto has_no_plan = [&](const Problem& other) {
      return !budget.expired() && answer_about(other, budget).verdict == Verdict::kNone;
    };
    result_.detail = fmt::format("the solver proves that no placement and order keeps to {}",
                                 infeasibility_cause(problem_, has_no_plan));
  }

  void describe() {
    result_.detail =
        fmt::format("none fits that was tried, in {} attempts to place and run one operator at a time", attempts_);
    if (!said_.empty()) result_.detail += "; " + said_;
  }

  const Problem& problem_;
  const Budget& budget_;
  const std::uint64_t seed_;
  FittingSearch search_;
  const std::size_t choices_;
  bool asks_solver_;
  std::uint64_t attempts_ = 0;
  std::string said_;  ///< by the solver, where it decided nothing
  AnyPlan result_;
};

}  // namespace

AnyPlan find_any_plan(const Problem& problem, const Budget& budget, const PlannerOptions& options) {
  AnyPlan nothing;
  nothing.detail = "no placement that was tried fits, and no time was left for others";
  if (budget.expired()) return nothing;  // on large problems even the question takes long to prepare
  return AnyPlanSearch(problem, budget, options).run();
}

}  // namespace opweave
