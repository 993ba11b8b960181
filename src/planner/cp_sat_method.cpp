#include "planner/cp_sat_method.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "exact/solve.h"
#include "exact/window.h"
#include "planner/cp_sat_targets_method.h"
#include "planner/levels_method.h"
#include "planner/routing_method.h"

namespace opweave {
namespace {

constexpr const char* kSolver = "cp-sat";
constexpr const char* kWindows = "cp-sat windows";

/// Share of a thread beside the searches. Half of what targets get is taken from it.
constexpr double kWindowSolverShare = 0.35;
/// Of the time, what the solver gets before the order search on a lone thread.
constexpr double kShareOfProof = 0.1;
/// Intervals of the largest whole problem that the solver tries: where the placement is open, and where only orders are
/// left to find.
constexpr std::size_t kMostSolverIntervals = 6000;
constexpr std::size_t kMostIntervalsOfOrder = 600;
/// Seconds for one window.
constexpr double kWindowSeconds = 1.0;
/// Windows of tasks that may not move together do not pay: tasks and transfers in a window's frame.
constexpr std::size_t kMostMoving = 3000;
constexpr std::uint32_t kMostWindowFailures = 3;

}  // namespace

bool CpSatMethod::supports(const ProblemTraits& traits) { return RoutingMethod::supports(traits); }

double CpSatMethod::share(const ProblemTraits& traits) {
  return kWindowSolverShare - (CpSatTargetsMethod::supports(traits) ? CpSatTargetsMethod::share(traits) / 2 : 0);
}

bool CpSatProof::supports(const ProblemTraits& traits) {
  return !RoutingMethod::supports(traits) && !LevelsMethod::supports(traits) &&
         traits.intervals() <= kMostIntervalsOfOrder;
}

double CpSatProof::share(const ProblemTraits&) { return kShareOfProof; }

CpSatMethod::CpSatMethod(const SearchContext& context, std::uint64_t seed)
    : problem_(context.problem()),
      engine_(context.solver),
      solves_whole_(context.traits.intervals() <= kMostSolverIntervals),
      seed_(seed),
      windows_(problem_, seed) {
  is_done_ = !engine_->unavailable_because().empty();
}

void CpSatMethod::advance(IncumbentStore& incumbent, const Slice& slice) {
  if (is_done_) return;
  ++seed_;
  const bool whole = solves_whole_ && turns_++ % 2 == 0;
  whole ? solve_whole(incumbent, slice) : solve_windows(incumbent, slice);
}

void CpSatMethod::note_failure(bool is_final) {
  if (is_final || ++failures_ >= kMostWindowFailures) is_done_ = true;
}

void CpSatMethod::solve_whole(IncumbentStore& incumbent, const Slice& slice) {
  const Budget& budget = slice.budget;
  // Begun anew when others find a better plan, unless much of the turn is used: the new plan cuts the search short.
  while (!is_done_ && !budget.expired()) {
    const Schedule start = incumbent.schedule();
    const Duration makespan = start.makespan(problem_);
    const double began = budget.elapsed();
    const double rest = budget.remaining().value_or(0);
    exact::ExactOptions options;
    options.engine = engine_;
    options.seed = seed_;
    options.known_bound = incumbent.lower_bound();
    options.work = slice.solver_work(problem_);
    options.deterministic = slice.is_repeatable();
    bool has_better_start = false;
    options.should_stop = [&] {
      has_better_start = incumbent.makespan() < makespan && budget.elapsed() - began < rest / 2;
      return has_better_start;
    };
    const exact::ExactAnswer answer = exact::solve_exactly(problem_, &start, budget, options);
    using Status = exact::ExactAnswer::Status;
    if (answer.schedule) incumbent.offer(*answer.schedule, kSolver);
    if (answer.status == Status::kFailed || answer.status == Status::kUnavailable || answer.abandoned) {
      note_failure(answer.status == Status::kUnavailable);
      if (slice.is_repeatable()) return;
      continue;
    }
    if (answer.status == Status::kTooLarge) return;
    failures_ = 0;
    incumbent.raise_bound({kSolver, answer.bound, "proven by the solver"});
    if (!has_better_start || slice.is_repeatable()) return;
  }
}

void CpSatMethod::solve_windows(IncumbentStore& incumbent, const Slice& slice) {
  const Budget& budget = slice.budget;
  const std::uint32_t calls = slice.solver_calls(problem_);
  const std::optional<double> work = slice.share(1.0 / calls).solver_work(problem_);
  for (std::uint32_t i = 0; i < calls && !is_done_ && !budget.expired() && !incumbent.is_optimal(); ++i) {
    const Duration makespan = *incumbent.makespan();
    if (!current_ || current_->makespan(problem_) > makespan) current_ = incumbent.schedule();
    const WindowChoice::Window window = windows_.draw(*current_);
    if (window.tasks.empty()) {
      is_done_ = true;
      return;
    }
    exact::WindowOptions options;
    options.engine = engine_;
    options.seed = ++seed_;
    options.work = work;
    options.deterministic = slice.is_repeatable();
    if (!work) options.seconds = kWindowSeconds;
    options.most_moving = kMostMoving;
    options.should_stop = [&] { return incumbent.makespan() < makespan; };
    const exact::WindowAnswer answer = exact::improve_window(problem_, *current_, window.tasks, budget, options);
    using Status = exact::WindowAnswer::Status;
    if (answer.status == Status::kFailed || answer.status == Status::kUnavailable || answer.abandoned) {
      note_failure(answer.status == Status::kUnavailable);
      continue;
    }
    failures_ = 0;
    windows_.finished(window.kind, answer.status != Status::kTooLarge && answer.exhausted);
    if (!answer.schedule) continue;
    // Schedules as long as the incumbent lead on from where it is stuck.
    if (answer.status == Status::kImproved && !incumbent.offer(*answer.schedule, kWindows)) continue;
    current_ = answer.schedule;
  }
}

}  // namespace opweave
