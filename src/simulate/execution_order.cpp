#include <algorithm>
#include <numeric>
#include <tuple>

#include "opweave/simulate.h"

namespace opweave {

ExecutionOrder execution_order(const Problem& problem, const Schedule& schedule) {
  ExecutionOrder order;
  order.devices.resize(problem.cluster().device_count());
  order.modes.reserve(schedule.tasks.size());
  for (const TaskAssignment& assignment : schedule.tasks) order.modes.push_back(assignment.mode);

  // One order for all devices, so that no two of them can wait for each other. Ids are topological:
  // among tasks of the same start, those of zero duration come before what they make possible.
  std::vector<TaskId> by_start;
  by_start.reserve(schedule.tasks.size());
  for (std::size_t t = 0; t < schedule.tasks.size(); ++t) by_start.emplace_back(t);
  std::sort(by_start.begin(), by_start.end(), [&](TaskId a, TaskId b) {
    return std::tie(schedule.tasks[a.index()].start, a) < std::tie(schedule.tasks[b.index()].start, b);
  });
  for (const TaskId task : by_start) {
    const Mode mode = problem.mode(task, order.modes[task.index()]);
    for (const DeviceId device : mode.devices) {
      order.devices[device.index()].push_back({{task}, {Duration()}, mode.duration, false});
    }
  }
  return order;
}

}  // namespace opweave
