#include "planner/window_choice.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>

namespace opweave {
namespace {

/// Tasks of a window: at first, and within what limits.
constexpr double kFirstSize = 40;
constexpr double kLeastSize = 8;
constexpr double kMostSize = 600;

}  // namespace

WindowChoice::WindowChoice(const Problem& problem, std::uint64_t seed) : problem_(problem), random_(seed) {
  sizes_.fill(kFirstSize);
}

void WindowChoice::finished(Kind kind, bool in_time) {
  double& size = sizes_[static_cast<std::size_t>(kind)];
  size = std::clamp(size * (in_time ? 1.1 : 0.8), kLeastSize, kMostSize);
}

/// Times, devices and one critical path: back from a last task, each time to what ended last among what it waits for.
void WindowChoice::measure(const Schedule& schedule) {
  const std::size_t count = problem_.task_count();
  start_.resize(count);
  end_.resize(count);
  devices_.assign(count, {});
  on_device_.assign(problem_.cluster().device_count(), {});
  for (std::size_t t = 0; t < count; ++t) {
    const Mode mode = problem_.mode(TaskId(t), schedule.tasks[t].mode);
    start_[t] = schedule.tasks[t].start.value();
    end_[t] = start_[t] + mode.duration.value();
    devices_[t].assign(mode.devices.begin(), mode.devices.end());
    for (const DeviceId device : mode.devices) on_device_[device.index()].emplace_back(t);
  }
  for (std::vector<TaskId>& tasks : on_device_) {
    std::ranges::stable_sort(tasks, {}, [&](TaskId task) { return start_[task.index()]; });
  }
  critical_.clear();
  if (count == 0) return;
  std::vector<TaskId> all;
  for (std::size_t t = 0; t < count; ++t) all.emplace_back(t);
  TaskId task = *std::ranges::max_element(all, {}, [&](TaskId t) { return end_[t.index()]; });
  for (bool found = true; found;) {
    critical_.push_back(task);
    found = false;
    TaskId before = task;
    const auto consider = [&](TaskId other) {
      // Strictly earlier starts: tasks of no duration must not lead in a circle.
      if (end_[other.index()] > start_[task.index()] || start_[other.index()] >= start_[task.index()]) return;
      if (found && end_[other.index()] <= end_[before.index()]) return;
      before = other;
      found = true;
    };
    for (const TaskId other : problem_.predecessors(task)) consider(other);
    for (const DeviceId device : devices_[task.index()]) {
      const std::vector<TaskId>& tasks = on_device_[device.index()];
      auto place =
          std::ranges::lower_bound(tasks, start_[task.index()], {}, [&](TaskId t) { return start_[t.index()]; });
      if (place != tasks.begin()) consider(*std::prev(place));
    }
    task = before;
  }
}

TaskId WindowChoice::draw_critical() { return critical_[random_.below(critical_.size())]; }

/// The tasks nearest to a moment, among those that belong.
template <class Belongs>
std::vector<TaskId> WindowChoice::around(std::int64_t moment, std::size_t count, Belongs belongs) const {
  std::vector<TaskId> tasks;
  for (std::size_t t = 0; t < start_.size(); ++t) {
    if (belongs(TaskId(t))) tasks.emplace_back(t);
  }
  const auto distance = [&](TaskId task) { return std::abs((start_[task.index()] + end_[task.index()]) / 2 - moment); };
  if (tasks.size() > count) {
    std::nth_element(tasks.begin(), tasks.begin() + static_cast<std::ptrdiff_t>(count), tasks.end(),
                     [&](TaskId a, TaskId b) { return std::pair(distance(a), a) < std::pair(distance(b), b); });
    tasks.resize(count);
  }
  std::ranges::sort(tasks);
  return tasks;
}

std::vector<TaskId> WindowChoice::along_critical_path(TaskId from, std::size_t count) const {
  std::vector<TaskId> tasks;
  const auto begin = std::ranges::find(critical_, from);
  for (auto task = begin; task != critical_.end() && tasks.size() < count; ++task) {
    tasks.push_back(*task);
    for (const DeviceId device : devices_[task->index()]) {
      const std::vector<TaskId>& there = on_device_[device.index()];
      const auto place = std::ranges::find(there, *task);
      if (place != there.begin()) tasks.push_back(*std::prev(place));
      if (std::next(place) != there.end()) tasks.push_back(*std::next(place));
    }
    for (const TaskId other : problem_.predecessors(*task)) tasks.push_back(other);
  }
  std::ranges::sort(tasks);
  tasks.erase(std::unique(tasks.begin(), tasks.end()), tasks.end());
  return tasks;
}

WindowChoice::Window WindowChoice::draw(const Schedule& schedule) {
  measure(schedule);
  Window window;
  if (critical_.empty()) return window;
  const TaskId centre = draw_critical();
  const std::int64_t moment = (start_[centre.index()] + end_[centre.index()]) / 2;
  window.kind = static_cast<Kind>(random_.below(kKinds));
  const std::uint32_t microbatches = problem_.settings().training.microbatches;
  if (window.kind == Kind::kMicrobatches && microbatches < 3) window.kind = Kind::kTime;
  if (window.kind == Kind::kDevicePair && on_device_.size() < 3) window.kind = Kind::kTime;
  const std::size_t count = size(window.kind);
  switch (window.kind) {
    case Kind::kTime:
      window.tasks = around(moment, count, [](TaskId) { return true; });
      break;
    case Kind::kDevicePair: {
      const DeviceId one = devices_[centre.index()].front();
      DeviceId other(random_.below(on_device_.size() - 1));
      if (other.index() >= one.index()) other = DeviceId(other.index() + 1);
      window.tasks = around(moment, count, [&](TaskId task) {
        const std::vector<DeviceId>& devices = devices_[task.index()];
        return std::ranges::find(devices, one) != devices.end() || std::ranges::find(devices, other) != devices.end();
      });
      break;
    }
    case Kind::kMicrobatches: {
      const std::uint32_t width = 1 + random_.below(std::min(4U, microbatches - 1));
      const std::uint32_t middle = problem_.task(centre).copy;
      const std::uint32_t first = middle - std::min(middle, random_.below(width));
      window.tasks = around(moment, count, [&](TaskId task) {
        const std::uint32_t copy = problem_.task(task).copy;
        return copy >= first && copy < first + width;
      });
      break;
    }
    case Kind::kCriticalPath:
      window.tasks = along_critical_path(centre, count);
      break;
  }
  return window;
}

}  // namespace opweave
