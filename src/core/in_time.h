/// Work that does not look at the clock, given up when the clock says so.
#pragma once

#include <chrono>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "core/left_behind.h"
#include "opweave/budget.h"

namespace opweave {

/// Seconds of the budget at which an answer is due at the latest, less a moment to say so: what may exceed a limit is a
/// twentieth of it and half a second. 0 without a limit.
[[nodiscard]] inline double latest_answer(const Budget& budget) {
  constexpr double kShareOfLimit = 1.05;
  constexpr double kBeyondLimit = 0.45;
  return budget.time_limit_seconds().value_or(0) * kShareOfLimit + kBeyondLimit;
}

/// What `work` returns, or nothing where it is not there some moments after the time limit of the budget; it goes on in
/// a thread that nobody waits for then, so it must own all it uses. Without a time limit, or where the system gives no
/// thread, it is waited for. Exceptions of the work are thrown on.
template <class Work>
[[nodiscard]] auto in_time(const Budget& budget, Work work) -> std::optional<decltype(work())> {
  // Until a process has given back the memory of what it built: 0.1 s per gigabyte.
  constexpr double kToEnd = 0.25;
  if (!budget.time_limit_seconds()) return work();
  using Result = decltype(work());
  struct Desk {
    std::packaged_task<Result()> task;
    std::mutex mutex;
    bool is_given_up = false;
    bool has_ended = false;
  };
  const auto desk = std::make_shared<Desk>();
  desk->task = std::packaged_task<Result()>(std::move(work));
  std::future<Result> result = desk->task.get_future();
  std::thread worker;
  try {
    worker = std::thread([desk] {
      desk->task();
      const std::lock_guard lock(desk->mutex);
      desk->has_ended = true;
      if (desk->is_given_up) came_home();
    });
  } catch (const std::system_error&) {
    desk->task();
    return result.get();
  }
  const double left = latest_answer(budget) - kToEnd - budget.elapsed();
  if (result.wait_for(std::chrono::duration<double>(left)) == std::future_status::ready) {
    worker.join();
    return result.get();
  }
  const std::lock_guard lock(desk->mutex);
  worker.detach();
  if (!desk->has_ended) {
    desk->is_given_up = true;
    leave_behind();
  }
  return std::nullopt;
}

}  // namespace opweave
