#include <algorithm>
#include <map>
#include <set>

#include "opweave/plan.h"

namespace opweave {
namespace {

struct Span {
  Duration start;
  Duration end;
};

/// Total length of the union of spans, and the gaps between the first start and the last end.
struct Coverage {
  Duration busy;
  Duration idle_within;
};

Coverage cover(std::vector<Span> spans) {
  Coverage result;
  if (spans.empty()) return result;
  std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.start < b.start; });
  Duration reached = spans.front().start;
  for (const Span& span : spans) {
    if (span.start > reached) result.idle_within += span.start - reached;
    if (span.end > reached) {
      result.busy += span.end - std::max(span.start, reached);
      reached = span.end;
    }
  }
  return result;
}

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

  std::vector<std::vector<Span>> compute(device_count);
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    if ((problem.streams(TaskId(t)) & 1U) == 0) continue;
    const Span span{schedule.tasks[t].start, end(t)};
    for (const DeviceId device : problem.mode(TaskId(t), schedule.tasks[t].mode).devices) {
      compute[device.index()].push_back(span);
    }
  }
  Duration bubbles;
  for (std::size_t d = 0; d < device_count; ++d) {
    DeviceStatistics& device = result.devices[d];
    const Coverage coverage = cover(std::move(compute[d]));
    device.compute_busy = coverage.busy;
    device.span_idle = coverage.idle_within;
    device.bubble = result.makespan - coverage.busy;
    bubbles += device.bubble;
  }
  for (const Transfer& transfer : schedule.transfers) {
    const Bytes size = problem.size(transfer.value);
    result.bytes_moved += size;
    result.devices[transfer.source.index()].bytes_sent += size;
    result.devices[transfer.destination.index()].bytes_received += size;
  }
  const auto curves = memory_curves(problem, schedule, task_ends);
  for (std::size_t d = 0; d < device_count; ++d) {
    for (const MemoryStep& step : curves[d]) {
      result.devices[d].peak_memory = std::max(result.devices[d].peak_memory, step.bytes);
    }
  }
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
