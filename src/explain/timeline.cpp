#include "explain/timeline.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

namespace opweave::explaining {

Timeline::Timeline(const Problem& the_problem, const Schedule& the_schedule)
    : problem(the_problem),
      schedule(the_schedule),
      makespan(schedule.makespan(problem)),
      stream_count_(problem.cluster().stream_names().size()),
      memory_(memory_curves(problem, schedule)) {
  index_lanes();
  index_transfers();
  index_releases();
}

bool Timeline::runs_on(TaskId task, DeviceId device) const {
  const auto devices = mode(task).devices;
  return std::binary_search(devices.begin(), devices.end(), device);
}

void Timeline::index_lanes() {
  lanes_.resize(problem.cluster().device_count() * stream_count_);
  std::vector<TaskId> by_start;
  by_start.reserve(problem.task_count());
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    if (mode(TaskId(t)).duration > Duration()) by_start.emplace_back(t);
  }
  std::sort(by_start.begin(), by_start.end(),
            [&](TaskId a, TaskId b) { return std::pair(start(a), a) < std::pair(start(b), b); });
  for (const TaskId task : by_start) {
    for (const DeviceId device : mode(task).devices) {
      for (std::size_t s = 0; s < stream_count_; ++s) {
        if ((problem.streams(task) >> s & 1U) != 0) lanes_[device.index() * stream_count_ + s].push_back(task);
      }
    }
  }
}

std::optional<TaskId> Timeline::before_on(DeviceId device, std::size_t stream, TaskId task) const {
  if (mode(task).duration == Duration()) return std::nullopt;
  const auto tasks = lane(device, stream);
  const auto at = std::lower_bound(tasks.begin(), tasks.end(), task,
                                   [&](TaskId a, TaskId b) { return std::pair(start(a), a) < std::pair(start(b), b); });
  if (at == tasks.begin()) return std::nullopt;
  return *(at - 1);
}

void Timeline::index_transfers() {
  const auto& transfers = schedule.transfers;
  transfer_first_.assign(problem.value_count() + 1, 0);
  for (const Transfer& transfer : transfers) ++transfer_first_[transfer.value.index() + 1];
  std::partial_sum(transfer_first_.begin(), transfer_first_.end(), transfer_first_.begin());
  transfer_list_.resize(transfers.size());
  std::vector<std::size_t> next(transfer_first_.begin(), transfer_first_.end() - 1);
  for (std::size_t i = 0; i < transfers.size(); ++i) transfer_list_[next[transfers[i].value.index()]++] = i;

  link_predecessors_.resize(transfers.size());
  if (problem.settings().contention == Contention::kNone) return;
  std::vector<std::size_t> by_start(transfers.size());
  std::iota(by_start.begin(), by_start.end(), std::size_t{0});
  std::sort(by_start.begin(), by_start.end(), [&](std::size_t a, std::size_t b) {
    return std::tie(transfers[a].start, a) < std::tie(transfers[b].start, b);
  });
  std::map<Cluster::Channel, std::size_t> last;
  for (const std::size_t i : by_start) {
    const Transfer& transfer = transfers[i];
    if (transfer.start == transfer.end) continue;  // occupies nothing
    for (const auto channel : problem.channels(transfer.source, transfer.destination)) {
      const auto [entry, is_first] = last.try_emplace(channel, i);
      if (!is_first) link_predecessors_[i].push_back(entry->second);
      entry->second = i;
    }
  }
}

std::span<const std::size_t> Timeline::transfers_of(ValueId value) const {
  return std::span(transfer_list_)
      .subspan(transfer_first_[value.index()], transfer_first_[value.index() + 1] - transfer_first_[value.index()]);
}

std::optional<std::size_t> Timeline::arrival(ValueId value, DeviceId device) const {
  for (const std::size_t i : transfers_of(value)) {
    if (schedule.transfers[i].destination == device) return i;
  }
  return std::nullopt;
}

void Timeline::index_releases() {
  releases_.resize(problem.cluster().device_count());
  const auto add = [&](DeviceId device, Duration from, Release release) {
    // What begins and ends at one moment held nothing, and must not explain what happens at that moment.
    if (release.bytes > Bytes() && from < release.time) releases_[device.index()].push_back(release);
  };
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const Mode how = mode(TaskId(t));
    for (const DeviceId device : how.devices) {
      add(device, start(TaskId(t)), {end(TaskId(t)), how.workspace, TaskId(t), {}});
    }
  }
  // A value is let go by whoever uses it last on the device.
  for (std::size_t v = 0; v < problem.value_count(); ++v) {
    const ValueId value(v);
    if (problem.size(value) == Bytes()) continue;
    std::map<DeviceId, std::pair<Duration, Release>> last;  // start of the user, the release
    const auto use = [&](DeviceId device, Duration from, const Release& release) {
      const auto [entry, is_new] = last.try_emplace(device, from, release);
      if (!is_new && release.time > entry->second.second.time) entry->second = {from, release};
    };
    const Bytes size = problem.size(value);
    const auto use_by = [&](TaskId task) {
      for (const DeviceId device : mode(task).devices) use(device, start(task), {end(task), size, task, {}});
    };
    if (const auto producer = problem.producer(value)) use_by(*producer);
    for (const TaskId consumer : problem.consumers(value)) use_by(consumer);
    for (const std::size_t i : transfers_of(value)) {
      const Transfer& transfer = schedule.transfers[i];
      use(transfer.source, transfer.start, {transfer.end, size, {}, i});
      use(transfer.destination, transfer.start, {transfer.end, size, {}, i});
    }
    for (const auto& [device, entry] : last) add(device, entry.first, entry.second);
  }
  for (auto& releases : releases_) {
    std::sort(releases.begin(), releases.end(), [](const Release& a, const Release& b) {
      return std::tie(a.time, b.bytes, a.task, a.transfer) < std::tie(b.time, a.bytes, b.task, b.transfer);
    });
  }
}

const Release* Timeline::release(DeviceId device, Duration time) const {
  const auto& releases = releases_[device.index()];
  const auto at = std::lower_bound(releases.begin(), releases.end(), time,
                                   [](const Release& release, Duration moment) { return release.time < moment; });
  return at != releases.end() && at->time == time ? &*at : nullptr;
}

Duration Timeline::fits_from(DeviceId device, Bytes more, Duration since, Duration until) const {
  const std::optional<Bytes> capacity = problem.capacity(device);
  if (!capacity || since >= until) return since;
  const auto& curve = memory_[device.index()];
  // The steps before `until`, latest first.
  auto step = std::lower_bound(curve.begin(), curve.end(), until,
                               [](const MemoryStep& s, Duration moment) { return s.time < moment; });
  Duration step_end = until;
  while (step != curve.begin() && step_end > since) {
    --step;
    if (step->bytes + more > *capacity) return step_end;
    step_end = step->time;
  }
  return since;
}

Bytes Timeline::bytes_at_start(TaskId task, DeviceId device) const {
  const bool is_instant = mode(task).duration == Duration();
  Bytes result = is_instant ? Bytes() : mode(task).workspace;
  for (const ValueId value : problem.outputs(task)) {
    if (!is_instant || !problem.consumers(value).empty()) result += problem.size(value);
  }
  for (const ValueId value : problem.inputs(task)) {
    if (problem.producer(value)) continue;
    // An input of the graph appears with its first consumer on the device.
    const bool is_first = std::ranges::all_of(
        problem.consumers(value), [&](TaskId other) { return !runs_on(other, device) || start(other) >= start(task); });
    if (is_first) result += problem.size(value);
  }
  return result;
}

}  // namespace opweave::explaining
