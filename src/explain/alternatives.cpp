#include <algorithm>
#include <map>
#include <set>

#include "opweave/explain.h"
#include "opweave/plan.h"
#include "opweave/simulate.h"

namespace opweave {
namespace {

/// The schedule with other modes and the same order of starts, simulated. Ids and starts agree with what must
/// come first, so the order always runs, unless two devices are not joined.
SimulationResult moved(const Problem& problem, Schedule schedule, const std::vector<TaskId>& tasks, DeviceId to) {
  for (const TaskId task : tasks) schedule.tasks[task.index()].mode = *problem.mode_on(task, to);
  return simulate(problem, execution_order(problem, schedule), {problem.settings().contention, 1, {}});
}

bool fits(const Problem& problem, const SimulationResult& result) {
  const PlanStatistics figures = statistics(problem, result.schedule, result.task_ends);
  for (std::size_t d = 0; d < figures.devices.size(); ++d) {
    const auto capacity = problem.capacity(DeviceId(d));
    if (capacity && figures.devices[d].peak_memory > *capacity) return false;
  }
  return true;
}

/// A device of the cluster on which a group that must be apart from these runs: its name would be an obstacle.
bool is_apart_from_itself(const Problem& problem, const Schedule& schedule, const std::set<GroupId>& groups,
                          DeviceId to) {
  for (const GroupId group : groups) {
    for (const GroupId other : problem.apart_from(group)) {
      if (groups.contains(other)) return true;  // both would move to the same device
      const TaskId task = problem.tasks_of(other).front();
      const auto devices = problem.mode(task, schedule.tasks[task.index()].mode).devices;
      if (std::ranges::find(devices, to) != devices.end()) return true;
    }
  }
  return false;
}

}  // namespace

std::vector<Alternatives> alternatives(const Problem& problem, const Schedule& schedule, OperatorId op) {
  // Groups by the device on which they run alone.
  std::map<DeviceId, std::set<GroupId>> homes;
  const bool once_per_replica = problem.graph().at(op).phase == Phase::kOptimizer;
  const auto& training = problem.settings().training;
  const std::uint32_t copies = once_per_replica ? training.replicas : training.microbatches;
  for (std::uint32_t copy = 0; copy < copies; ++copy) {
    const TaskId task = problem.task_of(op, copy);
    const auto devices = problem.mode(task, schedule.tasks[task.index()].mode).devices;
    if (devices.size() == 1) homes[devices.front()].insert(problem.group_of(task));
  }
  std::vector<Alternatives> result;
  for (const auto& [from, groups] : homes) {
    Alternatives entry;
    entry.from = from;
    std::vector<TaskId> tasks;
    for (const GroupId group : groups) {
      const auto members = problem.tasks_of(group);
      tasks.insert(tasks.end(), members.begin(), members.end());
    }
    entry.moved_tasks = tasks.size();
    entry.stays =
        simulate(problem, execution_order(problem, schedule), {problem.settings().contention, 1, {}}).makespan;
    for (std::size_t d = 0; d < problem.cluster().device_count(); ++d) {
      const DeviceId to(d);
      if (to == from) continue;
      Alternative other;
      other.device = to;
      const bool allowed = std::ranges::all_of(tasks, [&](TaskId t) { return problem.mode_on(t, to).has_value(); });
      if (!allowed) {
        other.obstacle = "not allowed there";
      } else if (is_apart_from_itself(problem, schedule, groups, to)) {
        other.obstacle = "must be apart from what runs there";
      } else {
        const SimulationResult simulated = moved(problem, schedule, tasks, to);
        if (!simulated.deadlocked.empty()) {
          other.obstacle = "no route for its tensors";
        } else {
          other.makespan = simulated.makespan;
          other.fits_memory = fits(problem, simulated);
        }
      }
      entry.others.push_back(std::move(other));
    }
    result.push_back(std::move(entry));
  }
  return result;
}

}  // namespace opweave
