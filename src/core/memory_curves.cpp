#include <algorithm>
#include <numeric>

#include "core/sort_by_time.h"
#include "opweave/plan.h"

namespace opweave {
namespace {

/// Of the memory of consecutive devices: the members of a gang, which hold much for the same time, are looked at once.
struct Change {
  Duration time;
  std::int64_t bytes = 0;
  std::uint32_t first = 0;  ///< device
  std::uint32_t end = 0;    ///< behind the last device
};

class MemoryAccount {
 public:
  MemoryAccount(const Problem& problem, const Schedule& schedule, std::span<const Duration> task_ends)
      : problem_(problem), schedule_(schedule), task_ends_(task_ends) {
    account_tasks();
    account_values();
    // Releases come before allocations of the same moment: lifetimes are half-open.
    releases_.insert(releases_.end(), allocations_.begin(), allocations_.end());
    allocations_ = {};
    sort_by_time(releases_);
  }

  [[nodiscard]] std::vector<std::vector<MemoryStep>> curves() const {
    std::vector<std::vector<MemoryStep>> result;
    for (const Bytes level : persistent_memory(problem_, schedule_)) result.push_back({{Duration(), level}});
    // The last step of a curve may still turn out to be none.
    const auto settle = [](std::vector<MemoryStep>& curve) {
      if (curve.size() > 1 && curve[curve.size() - 2].bytes == curve.back().bytes) curve.pop_back();
    };
    for (const Change& change : releases_) {
      for (std::uint32_t d = change.first; d < change.end; ++d) {
        std::vector<MemoryStep>& curve = result[d];
        if (curve.back().time != change.time) {
          settle(curve);
          curve.push_back({change.time, curve.back().bytes});
        }
        curve.back().bytes += Bytes(change.bytes);
      }
    }
    for (std::vector<MemoryStep>& curve : result) settle(curve);
    return result;
  }

  [[nodiscard]] std::vector<Bytes> peaks() const {
    std::vector<Bytes> levels = persistent_memory(problem_, schedule_);
    std::vector<Bytes> result = levels;
    for (const Change& change : releases_) {
      for (std::uint32_t d = change.first; d < change.end; ++d) {
        levels[d] += Bytes(change.bytes);
        result[d] = std::max(result[d], levels[d]);
      }
    }
    return result;
  }

 private:
  [[nodiscard]] Duration end(TaskId task) const {
    return task_ends_.empty() ? schedule_.end(problem_, task) : task_ends_[task.index()];
  }

  void account_tasks() {
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      const TaskId task(t);
      const Mode mode = problem_.mode(task, schedule_.tasks[t].mode);
      open_ = allocations_.size();
      for (const DeviceId device : mode.devices) {
        hold(device, schedule_.tasks[t].start, end(task), mode.workspace);
      }
    }
  }

  void account_values() {
    // By value; a list per value would cost more than all the rest where there are millions.
    std::vector<std::size_t> first_of(problem_.value_count() + 1);
    for (const Transfer& transfer : schedule_.transfers) ++first_of[transfer.value.index() + 1];
    std::partial_sum(first_of.begin(), first_of.end(), first_of.begin());
    std::vector<std::size_t> transfers(schedule_.transfers.size());
    std::vector<std::size_t> next = first_of;
    for (std::size_t i = 0; i < transfers.size(); ++i) transfers[next[schedule_.transfers[i].value.index()]++] = i;
    for (std::size_t v = 0; v < problem_.value_count(); ++v) {
      account_value(ValueId(v), std::span(transfers).subspan(first_of[v], first_of[v + 1] - first_of[v]));
    }
  }

  void hold(DeviceId device, Duration from, Duration to, Bytes bytes) {
    if (bytes == Bytes() || from >= to) return;
    const auto number = static_cast<std::uint32_t>(device.index());
    if (allocations_.size() > open_ && allocations_.back().end == number && allocations_.back().time == from &&
        releases_.back().time == to) {
      allocations_.back().end = releases_.back().end = number + 1;
      return;
    }
    allocations_.push_back({from, bytes.value(), number, number + 1});
    releases_.push_back({to, -bytes.value(), number, number + 1});
  }

  /// Where a value lives, and when.
  struct Life {
    DeviceId device;
    Duration from;
    Duration until;
  };

  /// The life of the value at hand on a device; where it has none there yet, this one.
  Life& life_on(DeviceId device, Duration from, Duration until) {
    const auto place = std::ranges::lower_bound(lives_, device, {}, &Life::device);
    if (place != lives_.end() && place->device == device) return *place;
    return *lives_.insert(place, {device, from, until});
  }

  void account_value(ValueId value, std::span<const std::size_t> transfers) {
    if (problem_.size(value) == Bytes()) return;
    const std::optional<TaskId> producer = problem_.producer(value);
    lives_.clear();
    if (producer) {
      const TaskAssignment& made = schedule_.tasks[producer->index()];
      for (const DeviceId device : problem_.mode(*producer, made.mode).devices) {
        life_on(device, made.start, end(*producer));
      }
    }
    for (const std::size_t i : transfers) {
      const Transfer& transfer = schedule_.transfers[i];
      Life& life = life_on(transfer.destination, transfer.start, transfer.end);
      life.from = transfer.start;
      life.until = transfer.end;
    }
    for (const std::size_t i : transfers) {
      const Transfer& transfer = schedule_.transfers[i];
      const auto source = std::ranges::lower_bound(lives_, transfer.source, {}, &Life::device);
      if (source == lives_.end() || source->device != transfer.source) continue;
      source->until = std::max(source->until, transfer.end);
    }
    for (const TaskId consumer : problem_.consumers(value)) {
      const TaskAssignment& use = schedule_.tasks[consumer.index()];
      const Duration use_end = end(consumer);
      for (const DeviceId device : problem_.mode(consumer, use.mode).devices) {
        // An input of the graph appears with its first consumer on the device.
        Life& life = life_on(device, use.start, use_end);
        if (!producer) life.from = std::min(life.from, use.start);
        life.until = std::max(life.until, use_end);
      }
    }
    open_ = allocations_.size();
    for (const Life& life : lives_) hold(life.device, life.from, life.until, problem_.size(value));
  }

  const Problem& problem_;
  const Schedule& schedule_;
  std::span<const Duration> task_ends_;
  std::vector<Change> allocations_;
  std::vector<Change> releases_;  ///< once all is accounted for: all changes, by time
  std::size_t open_ = 0;          ///< what is held from here on is of the value or task at hand, and may be joined
  std::vector<Life> lives_;       ///< of the value at hand, by device
};

}  // namespace

std::vector<std::vector<ParameterId>> parameters_on_devices(const Problem& problem, const Schedule& schedule) {
  std::vector<std::vector<ParameterId>> homes(problem.cluster().device_count());
  for (std::size_t g = 0; g < problem.group_count(); ++g) {
    const auto parameters = problem.parameters_of(GroupId(g));
    if (parameters.empty()) continue;
    const TaskId first = problem.tasks_of(GroupId(g)).front();
    for (const DeviceId device : problem.mode(first, schedule.tasks[first.index()].mode).devices) {
      homes[device.index()].insert(homes[device.index()].end(), parameters.begin(), parameters.end());
    }
  }
  for (std::vector<ParameterId>& home : homes) {
    std::ranges::sort(home);
    home.erase(std::ranges::unique(home).begin(), home.end());
  }
  return homes;
}

std::vector<Bytes> persistent_memory(const Problem& problem, const Schedule& schedule) {
  std::vector<Bytes> result;
  for (const std::vector<ParameterId>& home : parameters_on_devices(problem, schedule)) {
    Bytes bytes;
    for (const ParameterId parameter : home) bytes += problem.persistent_bytes(parameter);
    result.push_back(bytes);
  }
  return result;
}

std::vector<std::vector<MemoryStep>> memory_curves(const Problem& problem, const Schedule& schedule,
                                                   std::span<const Duration> task_ends) {
  return MemoryAccount(problem, schedule, task_ends).curves();
}

std::vector<Bytes> peak_memory(const Problem& problem, const Schedule& schedule, std::span<const Duration> task_ends) {
  return MemoryAccount(problem, schedule, task_ends).peaks();
}

}  // namespace opweave
