#include "heuristics/earliest_finish.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <queue>
#include <utility>

#include "heuristics/placed_problem.h"
#include "heuristics/placement_state.h"

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
        ends_(problem.task_count(), 0),
        stream_free_(problem.cluster().device_count() * problem.cluster().stream_names().size(), 0) {}

  std::optional<std::vector<ModeIndex>> run() {
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
    return state_.modes();
  }

 private:
  bool place(TaskId task) {
    const GroupId group = problem_.group_of(task);
    find_arrivals(task);
    if (!state_.is_placed(group)) {
      std::int64_t best_end = std::numeric_limits<std::int64_t>::max();
      std::vector<DeviceId> best;
      const std::int64_t shortest = problem_.shortest(task).value();
      const auto consider = [&](std::span<const DeviceId> devices) {
        // Most devices are too busy to be best: their streams tell, without a look at transfers.
        if (streams_free(task, devices) + shortest >= best_end) return;
        const std::int64_t end = end_on(task, devices);
        if (end < best_end && state_.allows(group, devices)) {
          best_end = end;
          best.assign(devices.begin(), devices.end());
        }
      };
      const bool only_single = problem_.mode(task, problem_.mode_count(task) - 1).devices.size() == 1;
      if (only_single) {
        const auto devices = problem_.devices_of(group);
        for (std::size_t i = 0; i < devices.size(); ++i) consider(devices.subspan(i, 1));
      } else {
        for (const std::vector<DeviceId>& devices : state_.candidates(group)) consider(devices);
      }
      if (best.empty()) return false;
      state_.place(group, best);
    }
    const auto devices = state_.devices(group);
    const std::int64_t end = end_on(task, devices);
    if (end == std::numeric_limits<std::int64_t>::max()) return false;
    ends_[task.index()] = end;
    for_each_stream(task, devices, [&](std::int64_t& free) { free = end; });
    return true;
  }

  template <class Visit>
  void for_each_stream(TaskId task, std::span<const DeviceId> devices, Visit visit) {
    const std::size_t streams = problem_.cluster().stream_names().size();
    for (const DeviceId device : devices) {
      for (std::uint32_t mask = problem_.streams(task); mask != 0; mask &= mask - 1) {
        visit(stream_free_[device.index() * streams + static_cast<std::size_t>(__builtin_ctz(mask))]);
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
    for_each_stream(task, devices, [&](std::int64_t free) { start = std::max(start, free); });
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
    const auto mode = mode_with_devices(problem_, task, devices);
    if (!mode) return std::numeric_limits<std::int64_t>::max();
    return start + problem_.mode(task, *mode).duration.value();
  }

  const Problem& problem_;
  PlacementState state_;
  std::vector<std::int64_t> ends_;
  std::vector<std::int64_t> stream_free_;
  std::int64_t earliest_ = 0;
  std::vector<std::pair<ValueId, TaskId>> arrivals_;
};

}  // namespace

std::optional<std::vector<ModeIndex>> earliest_finish_placement(const Problem& problem) {
  return EarliestFinish(problem).run();
}

}  // namespace opweave
