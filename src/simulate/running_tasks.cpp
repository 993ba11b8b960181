#include "simulate/running_tasks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "opweave/error.h"

namespace opweave::simulation {
namespace {

constexpr std::uint32_t kCompute = 1;  // bit of the stream "compute", which is always the first

}  // namespace

std::int64_t millionths(double slowdown) {
  constexpr double kMostSlowdown = 1000;
  if (!(slowdown >= 1 && slowdown <= kMostSlowdown)) {
    throw InputError(fmt::format("compute slowdown is {}, expected 1 to {}", slowdown, kMostSlowdown));
  }
  return std::llround(slowdown * static_cast<double>(kMillion));
}

RunningTasks::RunningTasks(const Problem& problem, const JointRuns& runs, std::int64_t slowdown)
    : problem_(problem),
      runs_(runs),
      slowdown_(slowdown),
      progress_(problem.task_count()),
      versions_(problem.task_count(), 0),
      computing_(problem.cluster().device_count(), kNoTask),
      others_(problem.cluster().device_count(), 0) {}

bool RunningTasks::holds_compute(TaskId task) const { return (problem_.streams(task) & kCompute) != 0; }
bool RunningTasks::holds_other(TaskId task) const { return (problem_.streams(task) & ~kCompute) != 0; }

bool RunningTasks::is_hampered(TaskId task) const {
  const std::uint32_t own = holds_other(task) ? 1 : 0;  // nobody hampers itself
  return std::ranges::any_of(runs_.devices[task.index()],
                             [&](DeviceId device) { return others_[device.index()] > own; });
}

void RunningTasks::begin(TaskId task, Duration now) {
  const auto devices = runs_.devices[task.index()];
  if (holds_other(task)) {
    for (const DeviceId device : devices) occupy(device, now);
  }
  if (holds_compute(task)) {
    for (const DeviceId device : devices) computing_[device.index()] = static_cast<std::uint32_t>(task.index());
    progress_[task.index()] = {Wide{runs_.durations[task.index()].value()} * slowdown_, now, is_hampered(task)};
    forecast(task);
  } else {
    forecasts_.push_back({task, runs_.durations[task.index()].value(), versions_[task.index()]});
  }
}

void RunningTasks::end(TaskId task, Duration now) {
  const auto devices = runs_.devices[task.index()];
  if (holds_compute(task)) {
    for (const DeviceId device : devices) computing_[device.index()] = kNoTask;
  }
  if (holds_other(task)) {
    for (const DeviceId device : devices) release(device, now);
  }
}

void RunningTasks::occupy(DeviceId device, Duration now) {
  ++others_[device.index()];
  refresh(device, now);
}

void RunningTasks::release(DeviceId device, Duration now) {
  --others_[device.index()];
  refresh(device, now);
}

void RunningTasks::refresh(DeviceId device, Duration now) {
  const std::uint32_t index = computing_[device.index()];
  if (index == kNoTask) return;
  Progress& progress = progress_[index];
  const bool hampered = is_hampered(TaskId(index));
  if (hampered == progress.hampered) return;
  const std::int64_t speed = progress.hampered ? kMillion : slowdown_;
  progress.remaining -= Wide{(now - progress.since).value()} * speed;
  progress.since = now;
  progress.hampered = hampered;
  forecast(TaskId(index));
}

void RunningTasks::forecast(TaskId task) {
  const Progress& progress = progress_[task.index()];
  const Wide speed = progress.hampered ? kMillion : slowdown_;
  const Wide ends_in = progress.remaining > 0 ? (progress.remaining + speed - 1) / speed : 0;
  forecasts_.push_back({task, ends_in, ++versions_[task.index()]});
}

}  // namespace opweave::simulation
