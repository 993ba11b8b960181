#include <algorithm>
#include <numeric>

#include "opweave/plan.h"

namespace opweave {
namespace {

struct Change {
  Duration time;
  std::int64_t bytes;
};

class MemoryAccount {
 public:
  MemoryAccount(const Problem& problem, const Schedule& schedule, std::span<const Duration> task_ends)
      : problem_(problem), schedule_(schedule), task_ends_(task_ends), changes_(problem.cluster().device_count()) {}

  std::vector<std::vector<MemoryStep>> curves() {
    // Values are spread over the devices about evenly; where there are millions, growing lists cost more than they
    // hold.
    const std::size_t values = problem_.value_count() + schedule_.transfers.size();
    for (std::vector<Change>& changes : changes_) changes.reserve(2 * values / changes_.size());
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      const TaskId task(t);
      const Mode mode = problem_.mode(task, schedule_.tasks[t].mode);
      for (const DeviceId device : mode.devices) {
        hold(device, schedule_.tasks[t].start, end(task), mode.workspace);
      }
    }
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

    const std::vector<Bytes> persistent = persistent_memory(problem_, schedule_);
    std::vector<std::vector<MemoryStep>> result(changes_.size());
    for (std::size_t d = 0; d < changes_.size(); ++d) {
      // Releases come before allocations of the same moment: lifetimes are half-open.
      std::sort(changes_[d].begin(), changes_[d].end(), [](const Change& a, const Change& b) {
        return std::pair(a.time, a.bytes) < std::pair(b.time, b.bytes);
      });
      Bytes level = persistent[d];
      result[d].push_back({Duration(), level});
      for (std::size_t i = 0; i < changes_[d].size(); ++i) {
        level += Bytes(changes_[d][i].bytes);
        const bool last_of_moment = i + 1 == changes_[d].size() || changes_[d][i + 1].time != changes_[d][i].time;
        if (!last_of_moment) continue;
        if (result[d].back().time == changes_[d][i].time) {
          result[d].back().bytes = level;
        } else if (result[d].back().bytes != level) {
          result[d].push_back({changes_[d][i].time, level});
        }
      }
    }
    return result;
  }

 private:
  [[nodiscard]] Duration end(TaskId task) const {
    return task_ends_.empty() ? schedule_.end(problem_, task) : task_ends_[task.index()];
  }

  void hold(DeviceId device, Duration from, Duration to, Bytes bytes) {
    if (bytes == Bytes() || from >= to) return;
    changes_[device.index()].push_back({from, bytes.value()});
    changes_[device.index()].push_back({to, -bytes.value()});
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
    for (const Life& life : lives_) hold(life.device, life.from, life.until, problem_.size(value));
  }

  const Problem& problem_;
  const Schedule& schedule_;
  std::span<const Duration> task_ends_;
  std::vector<std::vector<Change>> changes_;
  std::vector<Life> lives_;  ///< of the value at hand, by device
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

}  // namespace opweave
