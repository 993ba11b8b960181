/// How fast tasks advance where computation and other streams of a device hamper each other.
#pragma once

#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "simulate/joint_runs.h"

namespace opweave::simulation {

/// Slowdowns are counted in millionths: exact integers, the same on every machine.
inline constexpr std::int64_t kMillion = 1'000'000;
/// A slowdown so counted. \throws InputError outside 1 to 1000
[[nodiscard]] std::int64_t millionths(double slowdown);

/// The running tasks and their remaining work. A task that holds the compute stream advances at full
/// speed, or at 1 / slowdown of it while another task holds any other stream of one of its devices.
/// Work is counted in 1 / slowdown-in-millionths of a nanosecond: a nanosecond at full speed does
/// `slowdown` units of it, a hampered one a million. So nothing is rounded until a task ends, at the
/// first whole nanosecond at which no work is left.
class RunningTasks {
 public:
  /// When a running task will end unless its speed changes. Forecasts of an older version are void.
  struct Forecast {
    TaskId task;
    Wide ends_in = 0;  ///< nanoseconds from now
    std::uint32_t version = 0;
  };

  RunningTasks(const Problem& problem, const JointRuns& runs, std::int64_t slowdown);

  /// A task of more than zero duration starts, or ends.
  void begin(TaskId task, Duration now);
  void end(TaskId task, Duration now);
  /// Something that advances at its own speed takes a stream other than compute of the device, or leaves it.
  void occupy(DeviceId device, Duration now);
  void release(DeviceId device, Duration now);

  [[nodiscard]] bool is_current(TaskId task, std::uint32_t version) const { return versions_[task.index()] == version; }
  /// Forecasts made since the last call.
  [[nodiscard]] std::vector<Forecast> take_forecasts() { return std::exchange(forecasts_, {}); }

 private:
  struct Progress {
    Wide remaining = 0;
    Duration since;
    bool hampered = false;
  };
  static constexpr std::uint32_t kNoTask = std::numeric_limits<std::uint32_t>::max();

  [[nodiscard]] bool holds_compute(TaskId task) const;
  [[nodiscard]] bool holds_other(TaskId task) const;
  [[nodiscard]] bool is_hampered(TaskId task) const;
  void refresh(DeviceId device, Duration now);
  void forecast(TaskId task);

  const Problem& problem_;
  const JointRuns& runs_;
  const std::int64_t slowdown_;
  std::vector<Progress> progress_;        // by task
  std::vector<std::uint32_t> versions_;   // by task
  std::vector<std::uint32_t> computing_;  // by device: the task on its compute stream, or kNoTask
  std::vector<std::uint32_t> others_;     // by device: how many hold other streams
  std::vector<Forecast> forecasts_;
};

}  // namespace opweave::simulation
