#include "memory_modes/carry.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <tuple>

#include "list_scheduling/list_scheduler.h"
#include "list_scheduling/placed_problem.h"
#include "list_scheduling/reference_order.h"
#include "order_search/schedule_in_order.h"

namespace opweave {
namespace {

using Origin = ProblemWithMovements::Origin;

/// What a movement is, whatever the choice around it.
std::tuple<MovementKind, TaskId, ValueId> key_of(const Origin& origin) {
  return {origin.kind, origin.task, origin.kind == MovementKind::kRecompute ? ValueId() : origin.value};
}

/// When each task of `to` would like to start.
std::vector<std::int64_t> wishes(const ProblemWithMovements& from, const Schedule& schedule,
                                 std::span<const std::int64_t> of_task, const ProblemWithMovements& to) {
  std::map<std::tuple<MovementKind, TaskId, ValueId>, std::int64_t> of_movement;
  for (std::size_t t = 0; t < schedule.tasks.size(); ++t) {
    const Origin origin = from.origin(TaskId(t));
    if (origin.is_movement) of_movement.emplace(key_of(origin), schedule.tasks[t].start.value());
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
    } else {
      std::int64_t due = std::numeric_limits<std::int64_t>::max();
      for (const TaskId reader : problem.successors(task)) due = std::min(due, result[reader.index()]);
      if (problem.successors(task).empty()) due = of_task[origin.task.index()];
      result[t] = due - problem.shortest(task).value();
    }
  }
  return result;
}

/// The keys, raised to those of what must precede.
std::vector<std::int64_t> behind_predecessors(const PlacedProblem& placed, std::vector<std::int64_t> keys) {
  std::vector<std::size_t> missing(placed.item_count());
  std::vector<ItemId> ready;
  for (ItemId item = 0; item < placed.item_count(); ++item) {
    missing[item] = placed.predecessors(item).size();
    if (missing[item] == 0) ready.push_back(item);
  }
  while (!ready.empty()) {
    const ItemId item = ready.back();
    ready.pop_back();
    for (const ItemId later : placed.successors(item)) {
      keys[later] = std::max(keys[later], keys[item] + 1);
      if (--missing[later] == 0) ready.push_back(later);
    }
  }
  return keys;
}

/// One microbatch after the other, as they began: what a schedule can fall back to. The problem does not say it where
/// it was unfolded.
ReferenceOrder by_microbatch(const ProblemWithMovements& to, const PlacedProblem& placed,
                             const std::vector<std::int64_t>& starts) {
  const Problem& original = to.original();
  const auto copies = static_cast<std::int64_t>(original.settings().training.microbatches);
  std::vector<std::int64_t> begin(static_cast<std::size_t>(copies), std::numeric_limits<std::int64_t>::max());
  std::vector<std::int64_t> copy(placed.item_count());
  std::int64_t horizon = 1;
  for (ItemId item = 0; item < placed.item_count(); ++item) {
    const ItemId task = placed.is_task(item) ? item : placed.predecessors(item).front();
    const TaskId of = to.origin(TaskId(task)).task;
    const bool is_last = original.op(of).phase == Phase::kOptimizer;
    copy[item] = is_last ? copies : static_cast<std::int64_t>(original.task(of).copy);
    horizon = std::max(horizon, starts[item] + 2 * static_cast<std::int64_t>(placed.item_count()));
    if (!is_last) {
      std::int64_t& first = begin[static_cast<std::size_t>(copy[item])];
      first = std::min(first, starts[item]);
    }
  }
  std::vector<std::size_t> order(begin.size());
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::stable_sort(order, {}, [&](std::size_t m) { return begin[m]; });
  std::vector<std::int64_t> turn(begin.size() + 1, copies);
  for (std::size_t i = 0; i < order.size(); ++i) turn[order[i]] = static_cast<std::int64_t>(i);
  std::vector<std::int64_t> keys(placed.item_count());
  for (ItemId item = 0; item < placed.item_count(); ++item) {
    keys[item] = turn[static_cast<std::size_t>(copy[item])] * horizon + std::max<std::int64_t>(0, starts[item]);
  }
  return reference_order(placed, keys);
}

}  // namespace

std::vector<std::int64_t> original_starts(const ProblemWithMovements& from, const Schedule& schedule) {
  std::vector<std::int64_t> result(from.original().task_count());
  for (std::size_t t = 0; t < schedule.tasks.size(); ++t) {
    const Origin origin = from.origin(TaskId(t));
    if (!origin.is_movement) result[origin.task.index()] = schedule.tasks[t].start.value();
  }
  return result;
}

std::optional<Schedule> carry(const ProblemWithMovements& from, const Schedule& schedule,
                              std::span<const std::int64_t> of_task, const ProblemWithMovements& to) {
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
    const auto mode = to.problem().mode_on(TaskId(t), devices[to.origin(TaskId(t)).task.index()]);
    if (!mode) return std::nullopt;  // a device without a host
    modes.push_back(*mode);
  }
  const auto placed = PlacedProblem::create(to.problem(), std::move(modes));
  if (!placed) return std::nullopt;
  std::vector<std::int64_t> starts = wishes(from, schedule, of_task, to);
  starts.resize(placed->item_count());
  for (auto item = static_cast<ItemId>(placed->task_count()); item < placed->item_count(); ++item) {
    std::int64_t due = std::numeric_limits<std::int64_t>::max();
    for (const ItemId reader : placed->successors(item)) due = std::min(due, starts[reader]);
    starts[item] = due;
  }
  if (std::optional<Schedule> in_order = schedule_in_order(*placed, starts)) return in_order;
  starts = behind_predecessors(*placed, std::move(starts));
  ReferenceOrder reference = by_microbatch(to, *placed, starts);
  if (!reference.fits) reference = reference_order(*placed);
  if (!reference.fits) return std::nullopt;
  return placed->schedule(list_schedule(*placed, reference, starts));
}

}  // namespace opweave
