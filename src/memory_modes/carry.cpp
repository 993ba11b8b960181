#include "memory_modes/carry.h"

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>

#include "list_scheduling/list_scheduler.h"
#include "list_scheduling/placed_problem.h"
#include "list_scheduling/reference_order.h"
#include "order_search/schedule_in_order.h"

namespace opweave {
namespace {

using Origin = ProblemWithMovements::Origin;

/// What a movement is, whatever the choice around it.
std::tuple<MovementKind, TaskId, ValueId, ParameterId> key_of(const Origin& origin) {
  return {origin.kind, origin.task, is_copy(origin.kind) ? origin.value : ValueId(), origin.parameter};
}

/// When each task of `to` would like to start.
std::vector<std::int64_t> wishes(const ProblemWithMovements& from, const Schedule& schedule,
                                 const ProblemWithMovements& to) {
  std::vector<std::int64_t> of_task(from.original().task_count());
  std::map<std::tuple<MovementKind, TaskId, ValueId, ParameterId>, std::int64_t> of_movement;
  for (std::size_t t = 0; t < schedule.tasks.size(); ++t) {
    const Origin origin = from.origin(TaskId(t));
    const std::int64_t start = schedule.tasks[t].start.value();
    if (origin.is_movement) {
      of_movement.emplace(key_of(origin), start);
    } else {
      of_task[origin.task.index()] = start;
    }
  }
  const Problem& problem = to.problem();
  std::vector<std::int64_t> result(problem.task_count());
  // Successors have larger numbers: what is due before them is known when they are.
  for (std::size_t t = result.size(); t-- > 0;) {
    const TaskId task(t);
    const Origin origin = to.origin(task);
    if (!origin.is_movement) {
      result[t] = of_task[origin.task.index()];
      continue;
    }
    const auto known = of_movement.find(key_of(origin));
    if (known != of_movement.end()) {
      result[t] = known->second;
    } else if (origin.kind == MovementKind::kCopyOut) {
      result[t] = of_task[origin.task.index()] + problem.shortest(task).value();
    } else if (origin.kind == MovementKind::kAllReduce) {
      for (const TaskId earlier : problem.control_predecessors(task)) {
        result[t] = std::max(result[t], of_task[to.origin(earlier).task.index()] + 1);
      }
    } else {
      std::int64_t due = std::numeric_limits<std::int64_t>::max();
      for (const TaskId reader : problem.successors(task)) due = std::min(due, result[reader.index()]);
      if (problem.successors(task).empty()) due = of_task[origin.task.index()];
      result[t] = due - problem.shortest(task).value();
    }
  }
  return result;
}

}  // namespace

std::optional<Schedule> carry(const ProblemWithMovements& from, const Schedule& schedule,
                              const ProblemWithMovements& to) {
  const Problem& original = from.original();
  std::vector<std::span<const DeviceId>> devices(original.task_count());
  for (std::size_t t = 0; t < schedule.tasks.size(); ++t) {
    const Origin origin = from.origin(TaskId(t));
    if (!origin.is_movement) {
      devices[origin.task.index()] = from.problem().mode(TaskId(t), schedule.tasks[t].mode).devices;
    }
  }
  std::vector<ModeIndex> modes;
  for (std::size_t t = 0; t < to.problem().task_count(); ++t) {
    const Origin origin = to.origin(TaskId(t));
    const bool is_reduction = origin.is_movement && origin.kind == MovementKind::kAllReduce;
    const std::optional<ModeIndex> mode =
        is_reduction ? ModeIndex(0) : to.problem().mode_on(TaskId(t), devices[origin.task.index()]);
    if (!mode) return std::nullopt;  // a device without a host
    modes.push_back(*mode);
  }
  const auto placed = PlacedProblem::create(to.problem(), std::move(modes));
  if (!placed) return std::nullopt;
  std::vector<std::int64_t> starts = wishes(from, schedule, to);
  starts.resize(placed->activity_count());
  for (auto activity = static_cast<ActivityId>(placed->task_count()); activity < placed->activity_count(); ++activity) {
    std::int64_t due = std::numeric_limits<std::int64_t>::max();
    for (const ActivityId reader : placed->successors(activity)) due = std::min(due, starts[reader]);
    starts[activity] = due;
  }
  if (std::optional<Schedule> in_order = schedule_in_order(*placed, starts)) return in_order;
  ReferenceOrder reference = reference_order(*placed, starts);
  if (!reference.fits) reference = reference_order(*placed);
  if (!reference.fits) return std::nullopt;
  return placed->schedule(list_schedule(*placed, reference, starts));
}

}  // namespace opweave
