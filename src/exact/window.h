/// Destroy and repair: a part of a schedule, solved anew with the rest in place.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "exact/cp_formulation.h"
#include "exact/engine.h"
#include "opweave/budget.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave::exact {

struct WindowOptions {
  std::shared_ptr<const CpEngine> engine;  ///< nothing = CP-SAT
  unsigned threads = 1;
  std::uint64_t seed = 1;
  bool deterministic = false;
  std::optional<double> work = 2.0;  ///< as in EngineLimits
  std::optional<double> seconds;     ///< beside the budget's
  /// Asked every few milliseconds beside the budget; may be empty.
  std::function<bool()> should_stop = {};
  /// Frames with more tasks and transfers that may move are not solved.
  std::size_t most_moving = 2000;
};

struct WindowAnswer {
  enum class Status : std::uint8_t {
    kImproved,     ///< `schedule` is shorter
    kEqual,        ///< `schedule` is as long and may differ
    kNotImproved,  ///< nothing as good was found; with `exhausted` there is nothing better in this window
    kTooLarge,     ///< more would move than the options allow
    kUnavailable,  ///< no solver
    kFailed,       ///< the solver broke down or answered nonsense
  };
  Status status = Status::kNotImproved;
  std::optional<Schedule> schedule;  ///< a claim until `check` has seen it
  bool exhausted = false;            ///< the solver finished with this window
  bool abandoned = false;            ///< the solver ignored its limit and was left behind
  std::string message;
};

/// Solves a part of a valid schedule anew by CP-SAT. Tasks of the window get new starts, and new modes where
/// all tasks of their group are in the window; so do the transfers that they touch. Other tasks and transfers
/// that start between the window's first start and last end keep modes and mutual order, but may shift; what
/// starts before stays, and what starts after follows in its order. The result starts everything as early as
/// the new orders allow, and is never longer than the schedule.
[[nodiscard]] WindowAnswer improve_window(const Problem& problem, const Schedule& schedule,
                                          std::span<const TaskId> window, const Budget& budget,
                                          const WindowOptions& options = {});

/// What a window frees, in the space of its free groups.
struct Window {
  std::shared_ptr<const ScheduleSpace> space;
  Frame frame;
  std::size_t moving = 0;  ///< tasks and transfers that are free or ordered
};
/// \pre the schedule is valid, and its times are multiples of the unit
[[nodiscard]] Window window_frame(const Problem& problem, TimeUnit unit, const Schedule& schedule,
                                  std::span<const TaskId> window);

}  // namespace opweave::exact
