#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "opweave/plan_diff.h"
#include "opweave/what_if.h"

namespace opweave {
namespace {

IdleByCause idle_of_all(const Problem& problem, const Schedule& schedule) {
  IdleByCause sum{};
  for (const IdleByCause& device : Explanation(problem, schedule).idle_by_cause()) {
    for (std::size_t c = 0; c < kIdleCauses; ++c) sum[c] += device[c];
  }
  return sum;
}

}  // namespace

DiffCosts diff_costs(const Problem& problem, const Schedule& first, const Schedule& second) {
  DiffCosts costs;
  costs.idle_first = idle_of_all(problem, first);
  costs.idle_second = idle_of_all(problem, second);
  costs.first = replay(problem, first).makespan;
  costs.second = replay(problem, second).makespan;

  Schedule moved = first;
  Schedule one = first;
  // Every group on its own is a simulation of the whole: of large plans, only some can be looked at in moments.
  constexpr std::size_t kMostSimulatedTasks = 2'000'000;
  const std::size_t most =
      std::min<std::size_t>(1000, kMostSimulatedTasks / std::max<std::size_t>(1, first.tasks.size()));
  for (std::size_t g = 0; g < problem.group_count(); ++g) {
    const auto tasks = problem.tasks_of(GroupId(g));
    bool differs = false;
    for (const TaskId task : tasks) {
      const ModeIndex mode = second.tasks[task.index()].mode;
      differs = differs || mode != first.tasks[task.index()].mode;
      moved.tasks[task.index()].mode = mode;
    }
    if (!differs || ++costs.moved_groups > most) continue;
    std::string name = problem.task_name(tasks.front());
    if (tasks.size() > 1) name += fmt::format(" and {} more", tasks.size() - 1);
    for (const TaskId task : tasks) one.tasks[task.index()].mode = second.tasks[task.index()].mode;
    costs.alone.push_back({std::move(name), replay(problem, one).makespan});
    for (const TaskId task : tasks) one.tasks[task.index()].mode = first.tasks[task.index()].mode;
  }
  costs.with_places = replay(problem, moved).makespan;
  std::ranges::stable_sort(costs.alone, [](const auto& a, const auto& b) {
    return std::tie(a.makespan, a.group) < std::tie(b.makespan, b.group);
  });
  return costs;
}

}  // namespace opweave
