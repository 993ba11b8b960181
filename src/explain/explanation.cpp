#include "explain/explanation.h"

#include <algorithm>

namespace opweave {

using explaining::Condition;
using explaining::Timeline;

std::string_view to_string(Binding binding) {
  switch (binding) {
    case Binding::kStart:
      return "start";
    case Binding::kInput:
      return "input";
    case Binding::kTransfer:
      return "transfer";
    case Binding::kStream:
      return "stream";
    case Binding::kLink:
      return "link";
    case Binding::kMemory:
      return "memory";
  }
  return "";
}

namespace explaining {

std::vector<Condition> conditions(const Timeline& timeline, TaskId task) {
  std::vector<Condition> result;
  const Problem& problem = timeline.problem;
  const Mode mode = timeline.mode(task);
  for (const ValueId value : problem.inputs(task)) {
    const auto producer = problem.producer(value);
    if (!producer) continue;
    for (const DeviceId device : mode.devices) {
      if (timeline.runs_on(*producer, device)) {
        result.push_back({Binding::kInput, timeline.end(*producer), producer, {}, device});
      } else if (const auto i = timeline.arrival(value, device)) {
        result.push_back({Binding::kTransfer, timeline.schedule.transfers[*i].end, producer, i, device});
      }
    }
  }
  for (const TaskId before : problem.control_predecessors(task)) {
    result.push_back({Binding::kInput, timeline.end(before), before, {}, mode.devices.front()});
  }
  for (const DeviceId device : mode.devices) {
    for (std::uint32_t mask = problem.streams(task); mask != 0; mask &= mask - 1) {
      const auto stream = static_cast<std::size_t>(__builtin_ctz(mask));
      if (const auto before = timeline.before_on(device, stream, task)) {
        result.push_back({Binding::kStream, timeline.end(*before), before, {}, device});
      }
    }
  }
  return result;
}

std::vector<Condition> transfer_conditions(const Timeline& timeline, std::size_t index) {
  std::vector<Condition> result;
  const Transfer& transfer = timeline.schedule.transfers[index];
  const auto producer = timeline.problem.producer(transfer.value);
  if (producer && timeline.runs_on(*producer, transfer.source)) {
    result.push_back({Binding::kInput, timeline.end(*producer), producer, {}, transfer.source});
  } else if (const auto i = timeline.arrival(transfer.value, transfer.source)) {
    result.push_back({Binding::kTransfer, timeline.schedule.transfers[*i].end, {}, i, transfer.source});
  }
  for (const std::size_t i : timeline.before_on_links(index)) {
    result.push_back({Binding::kLink, timeline.schedule.transfers[i].end, {}, i, transfer.source});
  }
  return result;
}

namespace {

/// The condition that is met last; of several the first one.
const Condition* last_met(const std::vector<Condition>& conditions) {
  const auto last = std::ranges::max_element(conditions, {}, &Condition::time);
  return last == conditions.end() ? nullptr : &*last;
}

StartReason to_reason(const Condition& condition) {
  // The step before a task is the transfer that brought the value, not its producer.
  return {condition.binding, condition.time, condition.transfer ? std::nullopt : condition.task, condition.transfer};
}

}  // namespace

StartReason memory_or(const Timeline& timeline, StartReason reason, DeviceId device, Duration fits_since) {
  if (fits_since <= reason.since) return reason;
  reason = {Binding::kMemory, fits_since, {}, {}};
  if (const Release* release = timeline.release(device, fits_since)) {
    reason.task = release->task;
    reason.transfer = release->transfer;
  }
  return reason;
}

StartReason reason(const Timeline& timeline, TaskId task) {
  StartReason result;
  const auto all = conditions(timeline, task);
  if (const Condition* last = last_met(all)) result = to_reason(*last);
  if (result.since >= timeline.start(task)) return result;
  // Time is left between the last condition and the start: does memory explain it?
  Duration since = result.since;
  DeviceId device = timeline.mode(task).devices.front();
  for (const DeviceId candidate : timeline.mode(task).devices) {
    const Duration fits =
        timeline.fits_from(candidate, timeline.bytes_at_start(task, candidate), result.since, timeline.start(task));
    if (fits > since) {
      since = fits;
      device = candidate;
    }
  }
  return memory_or(timeline, result, device, since);
}

StartReason transfer_reason(const Timeline& timeline, std::size_t index) {
  StartReason result;
  const auto all = transfer_conditions(timeline, index);
  if (const Condition* last = last_met(all)) result = to_reason(*last);
  const Transfer& transfer = timeline.schedule.transfers[index];
  if (result.since >= transfer.start || transfer.start == transfer.end) return result;
  const Duration fits =
      timeline.fits_from(transfer.destination, timeline.problem.size(transfer.value), result.since, transfer.start);
  return memory_or(timeline, result, transfer.destination, fits);
}

}  // namespace explaining

Explanation::Explanation(const Problem& problem, const Schedule& schedule)
    : data_(std::make_unique<const Data>(problem, schedule)) {}
Explanation::~Explanation() = default;
Explanation::Explanation(Explanation&&) noexcept = default;
Explanation& Explanation::operator=(Explanation&&) noexcept = default;

Duration Explanation::makespan() const { return data_->timeline.makespan; }
StartReason Explanation::reason(TaskId task) const { return explaining::reason(data_->timeline, task); }
StartReason Explanation::transfer_reason(std::size_t transfer) const {
  return explaining::transfer_reason(data_->timeline, transfer);
}
std::vector<IdleSpan> Explanation::idle_spans() const { return explaining::idle_spans(data_->timeline); }
std::vector<PathStep> Explanation::critical_path() const { return explaining::critical_path(data_->timeline); }
std::vector<Duration> Explanation::slack() const { return explaining::slack(data_->timeline); }

std::vector<IdleByCause> Explanation::idle_by_cause() const {
  std::vector<IdleByCause> result(data_->timeline.problem.cluster().device_count());
  for (const IdleSpan& span : idle_spans()) {
    result[span.device.index()][static_cast<std::size_t>(span.cause)] += span.until - span.from;
  }
  return result;
}

}  // namespace opweave
