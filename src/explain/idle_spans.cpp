#include <algorithm>
#include <array>

#include "explain/explanation.h"

namespace opweave {

std::string_view to_string(IdleCause cause) {
  constexpr std::array<std::string_view, kIdleCauses> kNames = {"ramp-up",  "ramp-down", "unused", "input",
                                                                "transfer", "stream",    "memory", "held"};
  return kNames[static_cast<std::size_t>(cause)];
}

namespace explaining {
namespace {

/// The gap of a compute stream before `next`, cut where one condition after the other is met. The moments only
/// grow, so the pieces fill the gap without holes or overlaps.
class Gap {
 public:
  Gap(const Timeline& timeline, DeviceId device, Duration from, TaskId next, std::vector<IdleSpan>& spans)
      : timeline_(timeline), device_(device), next_(next), reached_(from), spans_(spans) {}

  void cut() {
    const std::vector<Condition> all = conditions(timeline_, next_);
    until(IdleCause::kInput, last(
                                 all, [&](const Condition& c) { return c.task && !is_here(*c.task); }, true));
    until(IdleCause::kTransfer, last(
                                    all, [](const Condition& c) { return c.binding == Binding::kTransfer; }, false));
    until(IdleCause::kStream, last(
                                  all, [](const Condition& c) { return c.binding != Binding::kTransfer; }, false));
    wait_for_memory();
    close(IdleCause::kHeld, timeline_.start(next_), {}, {});
  }

 private:
  struct Met {
    Duration time;
    std::optional<TaskId> task;
    std::optional<std::size_t> transfer;
  };

  [[nodiscard]] bool is_here(TaskId task) const { return timeline_.runs_on(task, device_); }

  /// The latest of some conditions; `by_producer`: of a transfer, the end of what it brings counts.
  template <class Counts>
  Met last(const std::vector<Condition>& all, Counts counts, bool by_producer) const {
    Met result;
    for (const Condition& condition : all) {
      if (!counts(condition)) continue;
      const Duration time = by_producer ? timeline_.end(*condition.task) : condition.time;
      if (time <= result.time) continue;
      result = {time, condition.task, by_producer ? std::nullopt : condition.transfer};
      if (result.transfer) result.task.reset();
    }
    return result;
  }

  void until(IdleCause cause, const Met& met) { close(cause, met.time, met.task, met.transfer); }

  void wait_for_memory() {
    const Duration ready = reached_;
    Met met{ready, {}, {}};
    for (const DeviceId device : timeline_.mode(next_).devices) {
      const Duration fits =
          timeline_.fits_from(device, timeline_.bytes_at_start(next_, device), ready, timeline_.start(next_));
      if (fits <= met.time) continue;
      met = {fits, {}, {}};
      if (const Release* release = timeline_.release(device, fits)) met = {fits, release->task, release->transfer};
    }
    until(IdleCause::kMemory, met);
  }

  void close(IdleCause cause, Duration time, std::optional<TaskId> task, std::optional<std::size_t> transfer) {
    if (time <= reached_) return;
    spans_.push_back({device_, cause, reached_, time, next_, task, transfer});
    reached_ = time;
  }

  const Timeline& timeline_;
  const DeviceId device_;
  const TaskId next_;
  Duration reached_;
  std::vector<IdleSpan>& spans_;
};

}  // namespace

std::vector<IdleSpan> idle_spans(const Timeline& timeline) {
  std::vector<IdleSpan> spans;
  for (std::size_t d = 0; d < timeline.problem.cluster().device_count(); ++d) {
    const DeviceId device(d);
    Duration reached;
    bool is_first = true;
    for (const TaskId task : timeline.lane(device, 0)) {
      const Duration start = timeline.start(task);
      if (start > reached) {
        if (is_first) {
          spans.push_back({device, IdleCause::kRampUp, reached, start, task, {}, {}});
        } else {
          Gap(timeline, device, reached, task, spans).cut();
        }
      }
      is_first = false;
      reached = std::max(reached, timeline.end(task));
    }
    if (reached < timeline.makespan) {
      const IdleCause cause = is_first ? IdleCause::kUnused : IdleCause::kRampDown;
      spans.push_back({device, cause, reached, timeline.makespan, {}, {}, {}});
    }
  }
  return spans;
}

}  // namespace explaining
}  // namespace opweave
