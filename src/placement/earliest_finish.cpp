#include "placement/earliest_finish.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <queue>
#include <set>
#include <utility>

#include "placement/placement_state.h"

namespace opweave {
namespace {

/// Longest chain of shortest durations from each task on, transfers left out.
std::vector<std::int64_t> fastest_tails(const Problem& problem) {
  std::vector<std::int64_t> tails(problem.task_count(), 0);
  for (std::size_t t = problem.task_count(); t-- > 0;) {
    for (const TaskId successor : problem.successors(TaskId(t)))
      tails[t] = std::max(tails[t], tails[successor.index()]);
    tails[t] += problem.shortest(TaskId(t)).value();
  }
  return tails;
}

class EarliestFinish {
 public:
  explicit EarliestFinish(const Problem& problem)
      : problem_(problem),
        state_(problem),
        fastest_(problem.cluster()),
        ends_(problem.task_count(), 0),
        stream_free_(problem.cluster().device_count() * problem.cluster().stream_names().size(), 0),
        by_free_(problem.cluster().stream_names().size()) {
    for (auto& devices : by_free_) {
      for (std::uint32_t d = 0; d < problem.cluster().device_count(); ++d) devices.emplace_hint(devices.end(), 0, d);
    }
  }

  std::optional<Schedule> run() {
    const std::vector<std::int64_t> tails = fastest_tails(problem_);
    using Entry = std::pair<std::int64_t, std::uint32_t>;  // -tail, task
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> ready;
    std::vector<std::uint32_t> waiting(problem_.task_count());
    for (std::uint32_t t = 0; t < problem_.task_count(); ++t) {
      waiting[t] = static_cast<std::uint32_t>(problem_.predecessors(TaskId(t)).size());
      if (waiting[t] == 0) ready.emplace(-tails[t], t);
    }
    while (!ready.empty()) {
      const TaskId task(ready.top().second);
      ready.pop();
      if (!place(task)) return std::nullopt;
      for (const TaskId successor : problem_.successors(task)) {
        if (--waiting[successor.index()] == 0) {
          ready.emplace(-tails[successor.index()], static_cast<std::uint32_t>(successor.index()));
        }
      }
    }
    return schedule();
  }

 private:
  bool place(TaskId task) {
    const GroupId group = problem_.group_of(task);
    find_arrivals(task);
    if (!state_.is_placed(group)) {
      choose(task, group);
      if (best_.empty()) return false;
      state_.place(group, best_);
    }
    const auto devices = state_.devices(group);
    const std::int64_t end = end_on(task, devices);
    if (end == std::numeric_limits<std::int64_t>::max()) return false;
    ends_[task.index()] = end;
    for_each_stream(task, devices, [&](DeviceId device, unsigned stream, std::int64_t& free) {
      by_free_[stream].erase({free, static_cast<std::uint32_t>(device.index())});
      free = end;
      by_free_[stream].emplace(free, static_cast<std::uint32_t>(device.index()));
    });
    return true;
  }

  /// Finds the devices where the task ends first; ties go to where an input is made, then to what is free first.
  void choose(TaskId task, GroupId group) {
    best_.clear();
    best_end_ = std::numeric_limits<std::int64_t>::max();
    if (problem_.mode(task, problem_.mode_count(task) - 1).devices.size() > 1) {
      for (const Option& option : problem_.options(group)) consider(task, group, option.devices);
      return;
    }
    const auto allowed = problem_.devices_of(group);
    const auto consider_allowed = [&](DeviceId device) {
      const auto found = std::lower_bound(allowed.begin(), allowed.end(), device);
      if (found != allowed.end() && *found == device) {
        consider(task, group, allowed.subspan(static_cast<std::size_t>(found - allowed.begin()), 1));
      }
    };
    // Where no input is made all of them have to be sent, so nothing starts before they can be there.
    std::int64_t sent = earliest_;
    for (const auto& [value, producer] : arrivals_) {
      for (const DeviceId device : state_.devices(problem_.group_of(producer))) consider_allowed(device);
      sent = std::max(sent, ends_[producer.index()] + fastest_.time(problem_.size(value)).value());
    }
    const std::int64_t shortest = problem_.shortest(task).value();
    const auto stream = static_cast<unsigned>(__builtin_ctz(problem_.streams(task)));
    if (allowed.size() < problem_.cluster().device_count()) {
      for (std::size_t i = 0; i < allowed.size(); ++i) {
        if (std::max(sent, free_of(allowed[i], stream)) + shortest < best_end_) {
          consider(task, group, allowed.subspan(i, 1));
        }
      }
      return;
    }
    for (const auto& [free, device] : by_free_[stream]) {
      if (std::max(sent, free) + shortest >= best_end_) break;  // and so it is with all that are free later
      consider_allowed(DeviceId(device));
    }
  }

  void consider(TaskId task, GroupId group, std::span<const DeviceId> devices) {
    // Many devices are too busy to be best: their streams tell, without a look at transfers.
    if (streams_free(task, devices) + problem_.shortest(task).value() >= best_end_) return;
    const std::int64_t end = end_on(task, devices);
    if (end >= best_end_ || !state_.allows(group, devices)) return;
    best_end_ = end;
    best_.assign(devices.begin(), devices.end());
  }

  [[nodiscard]] std::int64_t& free_of(DeviceId device, unsigned stream) {
    return stream_free_[device.index() * by_free_.size() + stream];
  }

  template <class Visit>
  void for_each_stream(TaskId task, std::span<const DeviceId> devices, Visit visit) {
    for (const DeviceId device : devices) {
      for (std::uint32_t mask = problem_.streams(task); mask != 0; mask &= mask - 1) {
        const auto stream = static_cast<unsigned>(__builtin_ctz(mask));
        visit(device, stream, free_of(device, stream));
      }
    }
  }

  /// When control allows the task, and when and where its inputs were made.
  void find_arrivals(TaskId task) {
    earliest_ = 0;
    arrivals_.clear();
    for (const TaskId p : problem_.control_predecessors(task)) earliest_ = std::max(earliest_, ends_[p.index()]);
    for (const ValueId value : problem_.inputs(task)) {
      if (const auto producer = problem_.producer(value)) arrivals_.push_back({value, *producer});
    }
  }

  /// When all streams that the task needs there are free.
  std::int64_t streams_free(TaskId task, std::span<const DeviceId> devices) {
    std::int64_t start = earliest_;
    for_each_stream(task, devices, [&](DeviceId, unsigned, std::int64_t free) { start = std::max(start, free); });
    return start;
  }

  /// End of the task there if it is appended to the streams; the largest integer if an input cannot come.
  std::int64_t end_on(TaskId task, std::span<const DeviceId> devices) {
    std::int64_t start = streams_free(task, devices);
    for (const auto& [value, producer] : arrivals_) {
      const auto sources = state_.devices(problem_.group_of(producer));
      for (const DeviceId device : devices) {
        std::int64_t arrival = std::numeric_limits<std::int64_t>::max();
        for (const DeviceId source : sources) {
          if (const auto time = problem_.transfer_time(value, source, device)) {
            arrival = std::min(arrival, ends_[producer.index()] + time->value());
          }
        }
        if (arrival == std::numeric_limits<std::int64_t>::max()) return arrival;
        start = std::max(start, arrival);
      }
    }
    const auto mode = problem_.mode_on(task, devices);
    if (!mode) return std::numeric_limits<std::int64_t>::max();
    return start + problem_.mode(task, *mode).duration.value();
  }

  /// Every task where it was put, and each value on its way as soon as it is made.
  Schedule schedule() {
    Schedule result;
    const std::vector<ModeIndex> modes = state_.modes();
    result.tasks.reserve(modes.size());
    for (std::size_t t = 0; t < modes.size(); ++t) {
      result.tasks.push_back({modes[t], Duration(ends_[t]) - problem_.mode(TaskId(t), modes[t]).duration});
    }
    std::vector<DeviceId> destinations;
    for (std::size_t v = 0; v < problem_.value_count(); ++v) {
      const auto producer = problem_.producer(ValueId(v));
      if (!producer) continue;
      const auto sources = state_.devices(problem_.group_of(*producer));
      destinations.clear();
      for (const TaskId consumer : problem_.consumers(ValueId(v))) {
        for (const DeviceId device : state_.devices(problem_.group_of(consumer))) {
          if (std::find(sources.begin(), sources.end(), device) == sources.end()) destinations.push_back(device);
        }
      }
      std::sort(destinations.begin(), destinations.end());
      destinations.erase(std::unique(destinations.begin(), destinations.end()), destinations.end());
      for (const DeviceId destination : destinations) {
        std::optional<std::pair<Duration, DeviceId>> best;
        for (const DeviceId source : sources) {
          const auto time = problem_.transfer_time(ValueId(v), source, destination);
          if (time && (!best || std::pair(*time, source) < *best)) best = {*time, source};
        }
        const Duration start(ends_[producer->index()]);
        result.transfers.push_back({ValueId(v), best->second, destination, start, start + best->first});
      }
    }
    return result;
  }

  const Problem& problem_;
  PlacementState state_;
  const FastestWay fastest_;
  std::vector<std::int64_t> ends_;
  std::vector<std::int64_t> stream_free_;                                  ///< by device, then stream
  std::vector<std::set<std::pair<std::int64_t, std::uint32_t>>> by_free_;  ///< (free, device) by stream
  std::vector<DeviceId> best_;
  std::int64_t best_end_ = 0;
  std::int64_t earliest_ = 0;
  std::vector<std::pair<ValueId, TaskId>> arrivals_;
};

}  // namespace

std::optional<Schedule> earliest_finish(const Problem& problem) { return EarliestFinish(problem).run(); }

}  // namespace opweave
