#include "planner/exact_lane.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "exact/schedule_space.h"
#include "exact/solve.h"
#include "exact/window.h"

namespace opweave {
namespace {

constexpr const char* kSolver = "cp-sat";
constexpr const char* kWindows = "cp-sat windows";

/// Modes of all tasks together beyond which no model of the whole is thought of.
constexpr std::size_t kMostModes = 20'000;
/// Seconds for one window.
constexpr double kWindowSeconds = 1.0;
/// Windows of tasks that may not move together do not pay: tasks and transfers in a window's frame.
constexpr std::size_t kMostMoving = 3000;
constexpr std::uint32_t kMostFailures = 3;

}  // namespace

std::size_t ExactLane::size(const Problem& problem) {
  constexpr std::size_t kFarTooLarge = std::numeric_limits<std::size_t>::max();
  std::size_t modes = 0;
  for (std::size_t t = 0; t < problem.task_count() && modes <= kMostModes; ++t) modes += problem.mode_count(TaskId(t));
  if (modes > kMostModes) return kFarTooLarge;
  const exact::ScheduleSpace space(problem, exact::exact_unit(problem));
  return exact::cp_size(space).intervals;
}

ExactLane::ExactLane(const Problem& problem, bool solves_whole, std::uint64_t seed, IncumbentStore& incumbent,
                     std::shared_ptr<const exact::CpEngine> engine)
    : problem_(problem),
      engine_(std::move(engine)),
      solves_whole_(solves_whole),
      incumbent_(incumbent),
      seed_(seed),
      windows_(problem, seed) {
  is_done_ = !engine_->unavailable_because().empty();
}

void ExactLane::advance(const Budget& budget) {
  if (is_done_) return;
  ++seed_;
  const bool whole = solves_whole_ && turns_++ % 2 == 0;
  whole ? solve_whole(budget) : solve_windows(budget);
}

void ExactLane::note_failure(bool is_final) {
  if (is_final || ++failures_ >= kMostFailures) is_done_ = true;
}

void ExactLane::solve_whole(const Budget& budget) {
  // Begun anew when others find a better plan, unless much of the turn is used: the new plan cuts the search short.
  while (!is_done_ && !budget.expired()) {
    const Schedule start = incumbent_.schedule();
    const Duration makespan = start.makespan(problem_);
    const double began = budget.elapsed();
    const double rest = budget.remaining().value_or(0);
    exact::ExactOptions options;
    options.engine = engine_;
    options.seed = seed_;
    options.known_bound = incumbent_.lower_bound();
    bool has_better_start = false;
    options.should_stop = [&] {
      has_better_start = incumbent_.makespan() < makespan && budget.elapsed() - began < rest / 2;
      return has_better_start;
    };
    const exact::ExactAnswer answer = exact::solve_exactly(problem_, &start, budget, options);
    using Status = exact::ExactAnswer::Status;
    if (answer.schedule) incumbent_.offer(*answer.schedule, kSolver);
    if (answer.status == Status::kFailed || answer.status == Status::kUnavailable || answer.abandoned) {
      note_failure(answer.status == Status::kUnavailable);
      continue;
    }
    if (answer.status == Status::kTooLarge) return;
    failures_ = 0;
    incumbent_.raise_bound({kSolver, answer.bound, "proven by the solver"});
    if (!has_better_start) return;
  }
}

void ExactLane::solve_windows(const Budget& budget) {
  while (!is_done_ && !budget.expired()) {
    const Duration makespan = *incumbent_.makespan();
    if (!current_ || current_->makespan(problem_) > makespan) current_ = incumbent_.schedule();
    const WindowChoice::Window window = windows_.draw(*current_);
    if (window.tasks.empty()) {
      is_done_ = true;
      return;
    }
    exact::WindowOptions options;
    options.engine = engine_;
    options.seed = ++seed_;
    options.work.reset();
    options.seconds = kWindowSeconds;
    options.most_moving = kMostMoving;
    options.should_stop = [&] { return incumbent_.makespan() < makespan; };
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
    if (answer.status == Status::kImproved && !incumbent_.offer(*answer.schedule, kWindows)) continue;
    current_ = answer.schedule;
  }
}

}  // namespace opweave
