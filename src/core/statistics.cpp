#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "core/sort_by_time.h"
#include "opweave/plan.h"

namespace opweave {
namespace {

/// Total length of the union of spans that come by their starts, and the gaps between the first start and the last end.
struct Coverage {
  Duration busy;
  Duration idle_within;
  std::optional<Duration> reached;

  void add(Duration start, Duration end) {
    if (!reached) reached = start;
    if (start > *reached) idle_within += start - *reached;
    if (end <= *reached) return;
    busy += end - std::max(start, *reached);
    reached = end;
  }
};

std::uint32_t parameter_copies(const Problem& problem, const Schedule& schedule) {
  std::vector<std::set<DeviceId>> homes(problem.graph().parameters().size());
  for (std::size_t g = 0; g < problem.group_count(); ++g) {
    const TaskId first = problem.tasks_of(GroupId(g)).front();
    const auto devices = problem.mode(first, schedule.tasks[first.index()].mode).devices;
    for (const ParameterId parameter : problem.parameters_of(GroupId(g))) {
      homes[parameter.index()].insert(devices.begin(), devices.end());
    }
  }
  std::size_t most = 0;
  for (const auto& devices : homes) most = std::max(most, devices.size());
  return static_cast<std::uint32_t>(most);
}

/// Largest load of a stream, and under contention of an endpoint or link, divided by the microbatches.
template <class End>
Duration period(const Problem& problem, const Schedule& schedule, const End& end_of) {
  Duration largest;
  const std::size_t stream_count = problem.cluster().stream_names().size();
  std::vector<Duration> loads(problem.cluster().device_count() * stream_count);  // by device and bit of the mask
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const Mode mode = problem.mode(TaskId(t), schedule.tasks[t].mode);
    for (const DeviceId device : mode.devices) {
      for (std::uint32_t mask = problem.streams(TaskId(t)); mask != 0; mask &= mask - 1) {
        loads[device.index() * stream_count + static_cast<unsigned>(__builtin_ctz(mask))] +=
            end_of(t) - schedule.tasks[t].start;
      }
    }
  }
  for (const Duration load : loads) largest = std::max(largest, load);
  std::map<Cluster::Channel, Duration> channels;
  for (const Transfer& transfer : schedule.transfers) {
    for (const Cluster::Channel channel : problem.channels(transfer.source, transfer.destination)) {
      channels[channel] += transfer.end - transfer.start;
    }
  }
  for (const auto& [channel, load] : channels) largest = std::max(largest, load);
  const std::int64_t microbatches = problem.settings().training.microbatches;
  return Duration((largest.value() + microbatches - 1) / microbatches);
}

}  // namespace

PlanStatistics statistics(const Problem& problem, const Schedule& schedule, std::span<const Duration> task_ends) {
  PlanStatistics result;
  const auto end = [&](std::size_t task) {
    return task_ends.empty() ? schedule.end(problem, TaskId(task)) : task_ends[task];
  };
  for (std::size_t t = 0; t < problem.task_count(); ++t) result.makespan = std::max(result.makespan, end(t));
  result.period = period(problem, schedule, end);
  result.parameter_copies = parameter_copies(problem, schedule);
  const std::size_t device_count = problem.cluster().device_count();
  result.devices.resize(device_count);

  struct Started {
    Duration time;
    std::size_t task;
  };
  std::vector<Started> computing;
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    if ((problem.streams(TaskId(t)) & 1U) != 0) computing.push_back({schedule.tasks[t].start, t});
  }
  sort_by_time(computing);
  std::vector<Coverage> coverage(device_count);
  for (const auto& [start, task] : computing) {
    for (const DeviceId device : problem.mode(TaskId(task), schedule.tasks[task].mode).devices) {
      coverage[device.index()].add(start, end(task));
    }
  }
  Duration bubbles;
  for (std::size_t d = 0; d < device_count; ++d) {
    DeviceStatistics& device = result.devices[d];
    device.compute_busy = coverage[d].busy;
    device.span_idle = coverage[d].idle_within;
    device.bubble = result.makespan - coverage[d].busy;
    bubbles += device.bubble;
  }
  for (const Transfer& transfer : schedule.transfers) {
    const Bytes size = problem.size(transfer.value);
    result.bytes_moved += size;
    result.devices[transfer.source.index()].bytes_sent += size;
    result.devices[transfer.destination.index()].bytes_received += size;
  }
  const std::vector<Bytes> peaks = peak_memory(problem, schedule, task_ends);
  for (std::size_t d = 0; d < device_count; ++d) result.devices[d].peak_memory = peaks[d];
  const std::vector<Bytes> persistent = persistent_memory(problem, schedule);
  for (std::size_t d = 0; d < device_count; ++d) result.devices[d].persistent_memory = persistent[d];
  if (result.makespan > Duration()) {
    result.bubble_ratio = static_cast<double>(bubbles.value()) /
                          (static_cast<double>(device_count) * static_cast<double>(result.makespan.value()));
    result.utilisation = 1 - result.bubble_ratio;
  }
  return result;
}

}  // namespace opweave
