#include "planner/on_time.h"

#include <algorithm>
#include <chrono>
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

/// What a search of a problem and the one who waits for it share besides.
struct Answer : SearchDesk {
  std::optional<PlanResult> result;
  std::optional<Told> best;

  void tell(const Budget& budget, const Progress& progress, const std::function<void(const Progress&)>& on_progress) {
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
};

void run(SearchDesk& desk, const Work& work, const Budget& budget) {
  std::exception_ptr thrown;
  bool no_memory = false;
  try {
    work(budget);
  } catch (const std::bad_alloc&) {
    no_memory = true;
  } catch (...) {
    thrown = std::current_exception();
  }
  const std::lock_guard lock(desk.mutex);
  desk.failure = thrown;
  desk.is_out_of_memory = no_memory;
  desk.has_ended = true;
  if (desk.is_closed) came_home();
  desk.changed.notify_all();
}

/// Waits until the work has ended or is overdue; true if it has ended.
bool wait_for(SearchDesk& desk, const Budget& budget, double last_call) {
  std::optional<double> expired_at;
  std::unique_lock lock(desk.mutex);
  while (!desk.has_ended) {
    desk.changed.wait_for(lock, std::chrono::milliseconds(5));
    if (desk.has_ended || !budget.expired()) continue;
    const double now = budget.elapsed();
    if (budget.stopped()) desk.stop = true;
    if (!expired_at) expired_at = now;
    const double latest = budget.stopped() ? *expired_at + kAfterInterrupt : std::max(*expired_at, last_call);
    const double graced = desk.told_at ? std::max(*expired_at, *desk.told_at) + kGrace : latest;
    if (now < std::min(graced, latest)) continue;
    desk.is_closed = true;
    leave_behind();
    return false;
  }
  return true;
}

}  // namespace

bool end_on_time(const std::shared_ptr<SearchDesk>& desk, const Budget& budget, double seconds_to_write,
                 const Work& work, const std::function<void()>& meanwhile) {
  const double limit = budget.time_limit_seconds().value_or(0);
  const bool keeps_time = budget.remaining().value_or(0) + budget.elapsed() < limit - 1e-3;
  const double last_call = latest_answer(budget) - (keeps_time ? seconds_to_write : 0);
  Budget own = budget;
  own.watch(&desk->stop);
  std::thread worker;
  try {
    worker = std::thread([desk, work, own] { run(*desk, work, own); });
  } catch (const std::system_error&) {
    run(*desk, work, budget);  // nobody is there to look at the clock: the work does
  }
  try {
    meanwhile();
  } catch (const std::bad_alloc&) {  // the work may bring an answer all the same
  }
  if (!wait_for(*desk, budget, last_call)) {
    worker.detach();
    return false;
  }
  if (worker.joinable()) worker.join();
  if (desk->failure) std::rethrow_exception(desk->failure);
  return true;
}

PlanResult on_time(const Problem& problem, const Budget& budget, const PlannerOptions& options, const Search& search,
                   const std::function<void()>& meanwhile,
                   const std::function<PlanResult(std::optional<Told>)>& conclude) {
  const auto answer = std::make_shared<Answer>();
  const auto work = [answer, problem, options, search](const Budget& own) {
    PlannerOptions telling = options;
    // The answer outlives the search, which holds it.
    telling.on_progress = [&answer = *answer, &own, &told = options.on_progress](const Progress& progress) {
      answer.tell(own, progress, told);
    };
    PlanResult result = search(problem, own, telling);
    const std::lock_guard lock(answer->mutex);
    answer->result = std::move(result);
  };
  const double per_task = options.seeks_makespan_alone() ? kSecondsPerTask : kSecondsPerTaskWithObjectives;
  const double seconds_to_write = per_task * static_cast<double>(problem.task_count());
  if (end_on_time(answer, budget, seconds_to_write, work, meanwhile) && answer->result) {
    return std::move(*answer->result);
  }
  PlanResult result = conclude(std::move(answer->best));
  if (answer->is_out_of_memory) result.limit = "memory";
  return result;
}

}  // namespace opweave
