#include <algorithm>
#include <numeric>
#include <tuple>

#include "opweave/simulate.h"

namespace opweave {
namespace {

/// Tasks that run as one: a task alone, or a piece where the problem asks for blocks.
struct Unit {
  std::vector<TaskId> tasks;  ///< ascending
  Duration start;
  Duration end;
};

std::vector<Unit> single_tasks(const Problem& problem, const Schedule& schedule) {
  std::vector<Unit> units;
  units.reserve(schedule.tasks.size());
  for (std::size_t t = 0; t < schedule.tasks.size(); ++t) {
    units.push_back({{TaskId(t)}, schedule.tasks[t].start, schedule.end(problem, TaskId(t))});
  }
  return units;
}

std::vector<Unit> pieces(const Problem& problem, const Schedule& schedule) {
  const Training& training = problem.settings().training;
  std::vector<Unit> units;
  for (const Piece& piece : pieces_of(problem.graph(), problem.settings().blocks)) {
    const std::uint32_t copies = piece.phase == Phase::kOptimizer ? training.replicas : training.microbatches;
    for (std::uint32_t copy = 0; copy < copies; ++copy) {
      Unit unit;
      for (const OperatorId op : piece.operators) unit.tasks.push_back(problem.task_of(op, copy));
      std::ranges::sort(unit.tasks);
      unit.start = schedule.tasks[unit.tasks.front().index()].start;
      for (const TaskId task : unit.tasks) {
        unit.start = std::min(unit.start, schedule.tasks[task.index()].start);
        unit.end = std::max(unit.end, schedule.end(problem, task));
      }
      units.push_back(std::move(unit));
    }
  }
  return units;
}

}  // namespace

ExecutionOrder execution_order(const Problem& problem, const Schedule& schedule) {
  ExecutionOrder order;
  order.devices.resize(problem.cluster().device_count());
  order.modes = schedule.modes();

  // One order for all devices, so that no two of them can wait for each other. Ids are topological:
  // among tasks of the same start, those of zero duration come before what they make possible.
  const bool has_blocks = problem.settings().blocks != Blocks::kNone;
  std::vector<Unit> units = has_blocks ? pieces(problem, schedule) : single_tasks(problem, schedule);
  std::ranges::sort(units, [](const Unit& a, const Unit& b) {
    return std::tuple(a.start, a.tasks.front()) < std::tuple(b.start, b.tasks.front());
  });
  for (const Unit& unit : units) {
    std::vector<Duration> offsets;
    for (const TaskId task : unit.tasks) offsets.push_back(schedule.tasks[task.index()].start - unit.start);
    for (const DeviceId device : problem.mode(unit.tasks.front(), order.modes[unit.tasks.front().index()]).devices) {
      order.devices[device.index()].push_back({unit.tasks, offsets, unit.end - unit.start, false});
    }
  }
  return order;
}

}  // namespace opweave
