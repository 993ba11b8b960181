#include <algorithm>

#include "explain/explanation.h"

namespace opweave::explaining {

std::vector<PathStep> critical_path(const Timeline& timeline) {
  std::vector<PathStep> path;  // backwards until the end
  if (timeline.makespan == Duration()) return path;
  PathStep step;
  for (std::size_t t = 0; t < timeline.problem.task_count() && !step.task; ++t) {
    if (timeline.end(TaskId(t)) == timeline.makespan) step.task = TaskId(t);
  }
  // Every turn goes back in time, or along data among what takes no time: the chain is finite.
  for (;;) {
    StartReason why;
    if (step.task) {
      step.from = timeline.start(*step.task);
      step.until = timeline.end(*step.task);
      why = reason(timeline, *step.task);
    } else {
      step.from = timeline.schedule.transfers[*step.transfer].start;
      step.until = timeline.schedule.transfers[*step.transfer].end;
      why = transfer_reason(timeline, *step.transfer);
    }
    step.binding = why.binding;
    path.push_back(step);
    if (why.since < step.from) path.push_back({why.since, step.from, {}, {}, why.binding});
    if (!why.task && !why.transfer) {
      // Memory that nobody in particular freed: the rest is time in which the plan waits.
      if (why.since > Duration()) path.push_back({Duration(), why.since, {}, {}, Binding::kStart});
      break;
    }
    step = {{}, {}, why.task, why.transfer, Binding::kStart};
  }
  std::ranges::reverse(path);
  return path;
}

}  // namespace opweave::explaining
