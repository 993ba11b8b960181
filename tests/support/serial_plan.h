/// The most naive valid schedules: one thing at a time in the whole cluster.
#pragma once

#include <algorithm>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "opweave/plan.h"
#include "support/varied_problem.h"

namespace opweave::testing {

/// A random mode for every task such that groups stay together and those that must be apart are;
/// nothing if a few attempts do not find one.
inline std::optional<std::vector<ModeIndex>> random_modes(const Problem& problem, Random& random) {
  for (int attempt = 0; attempt < 20; ++attempt) {
    std::vector<std::vector<DeviceId>> devices(problem.group_count());
    std::vector<ModeIndex> modes(problem.task_count());
    bool failed = false;
    for (std::size_t g = 0; g < problem.group_count() && !failed; ++g) {
      const auto tasks = problem.tasks_of(GroupId(g));
      const auto same_mode = [&](TaskId task, std::span<const DeviceId> wanted) -> std::optional<ModeIndex> {
        for (ModeIndex m = 0; m < problem.mode_count(task); ++m) {
          if (std::ranges::equal(problem.mode(task, m).devices, wanted)) return m;
        }
        return std::nullopt;
      };
      std::vector<std::vector<DeviceId>> candidates;
      for (ModeIndex m = 0; m < problem.mode_count(tasks.front()); ++m) {
        const auto wanted = problem.mode(tasks.front(), m).devices;
        bool fits = std::ranges::all_of(tasks, [&](TaskId task) { return same_mode(task, wanted).has_value(); });
        for (const GroupId other : problem.apart_from(GroupId(g))) {
          for (const DeviceId device : devices[other.index()])
            fits = fits && std::ranges::find(wanted, device) == wanted.end();
        }
        if (fits) candidates.emplace_back(wanted.begin(), wanted.end());
      }
      failed = candidates.empty();
      if (failed) break;
      devices[g] = random.pick(candidates);
      for (const TaskId task : tasks) modes[task.index()] = *same_mode(task, devices[g]);
    }
    if (!failed) return modes;
  }
  return std::nullopt;
}

/// Tasks in a random order in which everything comes after what it needs.
inline std::vector<TaskId> random_topological_order(const Problem& problem, Random& random) {
  std::vector<std::size_t> missing(problem.task_count());
  std::vector<TaskId> ready;
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    missing[t] = problem.predecessors(TaskId(t)).size();
    if (missing[t] == 0) ready.emplace_back(t);
  }
  std::vector<TaskId> order;
  while (!ready.empty()) {
    std::swap(random.pick(ready), ready.back());
    order.push_back(ready.back());
    ready.pop_back();
    for (const TaskId successor : problem.successors(order.back())) {
      if (--missing[successor.index()] == 0) ready.push_back(successor);
    }
  }
  return order;
}

/// One task at a time, each after the transfers that it needs, with a pause now and then: valid under
/// every contention model. Nothing if no placement was found or a transfer has no route.
inline std::optional<Schedule> serial_schedule(const Problem& problem, Random& random) {
  const auto modes = random_modes(problem, random);
  if (!modes) return std::nullopt;
  Schedule schedule;
  schedule.tasks.resize(problem.task_count());
  std::set<std::pair<ValueId, DeviceId>> present;
  Duration now;
  for (const TaskId task : random_topological_order(problem, random)) {
    const Mode mode = problem.mode(task, (*modes)[task.index()]);
    for (const ValueId value : problem.inputs(task)) {
      const auto producer = problem.producer(value);
      if (!producer) continue;
      const auto sources = problem.mode(*producer, (*modes)[producer->index()]).devices;
      for (const DeviceId device : mode.devices) {
        if (!present.emplace(value, device).second) continue;
        const DeviceId source = sources[random.below(sources.size())];
        const auto lasts = problem.transfer_time(value, source, device);
        if (!lasts) return std::nullopt;
        schedule.transfers.push_back({value, source, device, now, now + *lasts});
        now += *lasts;
      }
    }
    if (random.chance(10)) now += Duration(random.between(1, 9));
    schedule.tasks[task.index()] = {(*modes)[task.index()], now};
    now += mode.duration;
    for (const ValueId value : problem.outputs(task)) {
      for (const DeviceId device : mode.devices) present.emplace(value, device);
    }
  }
  return schedule;
}

/// A problem and a valid plan of it.
struct PlannedProblem {
  Problem problem;
  Plan plan;
};

/// The plan of a schedule for the same problem with memory limits that it just meets: on each device
/// its own peak, or everywhere the largest. With a bound that may reach the makespan.
inline PlannedProblem with_tight_memory(const Problem& problem, const Schedule& schedule, Random& random) {
  const PlanStatistics figures = statistics(problem, schedule);
  ClusterParts parts = problem.cluster().parts();
  ProblemSettings settings = problem.settings();
  if (random.chance(50)) {
    for (std::size_t d = 0; d < parts.devices.size(); ++d) parts.devices[d].memory = figures.devices[d].peak_memory;
  } else {
    settings.memory_limit = Bytes(0);
    for (const DeviceStatistics& device : figures.devices) {
      settings.memory_limit = std::max(*settings.memory_limit, device.peak_memory);
    }
  }
  Problem limited = Problem::create(problem.graph(), Cluster::create(std::move(parts)), std::move(settings));
  const Duration slack(random.chance(30) ? 0 : random.between(0, figures.makespan.value()));
  Plan plan = make_plan(limited, schedule, {{"given", figures.makespan - slack, ""}, {"zero", Duration(0), ""}}, {});
  return {std::move(limited), std::move(plan)};
}

/// A serial plan of a random problem, or nothing where the draw was impossible.
inline std::optional<PlannedProblem> random_planned_problem(Random& random, std::size_t most_operators = 9) {
  const auto problem = varied_problem(random, most_operators);
  if (!problem) return std::nullopt;
  const auto schedule = serial_schedule(*problem, random);
  if (!schedule) return std::nullopt;
  return with_tight_memory(*problem, *schedule, random);
}

}  // namespace opweave::testing
