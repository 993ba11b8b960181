#include "planner/on_time.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "core/in_time.h"
#include "core/left_behind.h"

namespace opweave {
namespace {

/// Seconds after the end of the budget, or after the first plan where that comes later, in which a search may bring its
/// own answer.
constexpr double kGrace = 0.2;
/// Seconds after an interrupt.
constexpr double kAfterInterrupt = 0.35;
/// What the caller needs afterwards to state and write a plan, where it keeps time for that: measured 2.7 us.
/// Objectives are valued and checked besides.
constexpr double kSecondsPerTask = 3e-6;
constexpr double kSecondsPerTaskWithObjectives = 10e-6;

/// What a search and the one who waits for it share; lives until both are done with it.
struct Desk {
  Problem problem;
  Budget budget;
  PlannerOptions options;
  std::atomic<bool> stop = false;

  std::mutex mutex;
  std::condition_variable changed;
  bool is_closed = false;  ///< nobody waits any more
  bool has_ended = false;
  std::optional<PlanResult> result;
  std::exception_ptr failure;
  bool is_out_of_memory = false;
  std::optional<Told> best;
  double told_at = 0;  ///< seconds of the budget at which there was a first one

  void tell(const Progress& progress, const std::function<void(const Progress&)>& on_progress) {
    const std::lock_guard lock(mutex);
    if (is_closed) return;
    if (progress.schedule != nullptr) {
      if (!best) {
        best.emplace();
        told_at = budget.elapsed();
      }
      best->schedule = *progress.schedule;
      best->method = progress.method;
      best->bounds = progress.bounds;
      const Duration makespan = progress.makespan.value_or(Duration());
      std::vector<Improvement>& way = best->trajectory;
      if (way.empty() || way.back().makespan != makespan) way.push_back({progress.seconds, makespan, progress.method});
    }
    if (on_progress) on_progress(progress);
  }

  void run(const Search& search) {
    std::optional<PlanResult> own;
    std::exception_ptr thrown;
    bool no_memory = false;
    try {
      own = search(problem, budget, options);
    } catch (const std::bad_alloc&) {
      no_memory = true;
    } catch (...) {
      thrown = std::current_exception();
    }
    const std::lock_guard lock(mutex);
    result = std::move(own);
    failure = thrown;
    is_out_of_memory = no_memory;
    has_ended = true;
    if (is_closed) came_home();
    changed.notify_all();
  }
};

/// When nothing is waited for any longer, in seconds of the budget.
double last_call(const Problem& problem, const Budget& budget, const PlannerOptions& options) {
  const double limit = budget.time_limit_seconds().value_or(0);
  const bool keeps_time = budget.remaining().value_or(0) + budget.elapsed() < limit - 1e-3;
  const double per_task = options.seeks_makespan_alone() ? kSecondsPerTask : kSecondsPerTaskWithObjectives;
  const double writing = keeps_time ? per_task * static_cast<double>(problem.task_count()) : 0;
  return latest_answer(budget) - writing;
}

/// Waits until the search has ended or is overdue; true if it has ended.
bool wait_for(Desk& desk, const Budget& budget) {
  std::optional<double> expired_at;
  std::unique_lock lock(desk.mutex);
  while (!desk.has_ended) {
    desk.changed.wait_for(lock, std::chrono::milliseconds(5));
    if (desk.has_ended || !budget.expired()) continue;
    const double now = budget.elapsed();
    if (budget.stopped()) desk.stop = true;
    if (!expired_at) expired_at = now;
    const double latest = budget.stopped() ? *expired_at + kAfterInterrupt
                                           : std::max(*expired_at, last_call(desk.problem, budget, desk.options));
    const double graced = desk.best ? std::max(*expired_at, desk.told_at) + kGrace : latest;
    if (now < std::min(graced, latest)) continue;
    desk.is_closed = true;
    leave_behind();
    return false;
  }
  return true;
}

}  // namespace

PlanResult on_time(const Problem& problem, const Budget& budget, const PlannerOptions& options, const Search& search,
                   const std::function<void()>& meanwhile,
                   const std::function<PlanResult(std::optional<Told>)>& conclude) {
  const auto desk = std::make_shared<Desk>();
  desk->problem = problem;
  desk->budget = budget;
  desk->budget.watch(&desk->stop);
  desk->options = options;
  desk->options.on_progress = [&desk = *desk, told = options.on_progress](const Progress& progress) {
    desk.tell(progress, told);
  };
  std::thread worker;
  try {
    worker = std::thread([desk, search] { desk->run(search); });
  } catch (const std::system_error&) {
    desk->budget = budget;  // nobody is there to look at the clock: the search does
    desk->run(search);
  }
  try {
    meanwhile();
  } catch (const std::bad_alloc&) {  // the search may bring a plan all the same
  }
  if (wait_for(*desk, budget)) {
    if (worker.joinable()) worker.join();
    if (desk->failure) std::rethrow_exception(desk->failure);
    if (desk->result) return std::move(*desk->result);
  } else {
    worker.detach();
  }
  PlanResult result = conclude(std::move(desk->best));
  if (desk->is_out_of_memory) result.limit = "memory";
  return result;
}

}  // namespace opweave
