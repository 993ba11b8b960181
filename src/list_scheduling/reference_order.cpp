#include "list_scheduling/reference_order.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <queue>
#include <tuple>

namespace opweave {
namespace {

/// Microbatches in turn over the replicas, so that devices of all replicas have work early; optimizer
/// tasks after all of them.
std::vector<std::uint32_t> microbatch_ranks(const Problem& problem) {
  const Training& training = problem.settings().training;
  std::vector<std::uint32_t> seen(training.replicas, 0);
  std::vector<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>> turn;
  for (std::uint32_t b = 0; b < training.microbatches; ++b) {
    const std::uint32_t replica = training.replica_of(b);
    turn.emplace_back(seen[replica]++, replica, b);
  }
  std::sort(turn.begin(), turn.end());
  std::vector<std::uint32_t> rank(training.microbatches);
  for (std::uint32_t i = 0; i < turn.size(); ++i) rank[std::get<2>(turn[i])] = i;
  return rank;
}

/// Tasks in a topological order that prefers small keys among the ready ones.
template <class Key>
std::vector<ActivityId> order_by_key(const Problem& problem, Key key) {
  using Entry = std::pair<decltype(key(ActivityId{})), ActivityId>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> ready;
  std::vector<std::uint32_t> waiting(problem.task_count());
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    waiting[t] = static_cast<std::uint32_t>(problem.predecessors(TaskId(t)).size());
    if (waiting[t] == 0) ready.emplace(key(static_cast<ActivityId>(t)), static_cast<ActivityId>(t));
  }
  std::vector<ActivityId> order;
  order.reserve(problem.task_count());
  while (!ready.empty()) {
    const ActivityId task = ready.top().second;
    ready.pop();
    order.push_back(task);
    for (const TaskId successor : problem.successors(TaskId(task))) {
      if (--waiting[successor.index()] == 0) {
        ready.emplace(key(static_cast<ActivityId>(successor.index())), static_cast<ActivityId>(successor.index()));
      }
    }
  }
  return order;
}

/// Position of each task in a depth-first walk from the sinks: a task comes right after the last of
/// the tasks that it needs, and what needs most time comes first (it is waited for anyway).
std::vector<std::uint32_t> depth_first_ranks(const PlacedProblem& placed, const std::vector<std::uint64_t>& block) {
  const Problem& problem = placed.problem();
  const std::vector<std::int64_t> tails = placed.tails();
  std::vector<ActivityId> sinks;
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    if (problem.successors(TaskId(t)).empty()) sinks.push_back(static_cast<ActivityId>(t));
  }
  std::stable_sort(sinks.begin(), sinks.end(), [&](ActivityId a, ActivityId b) { return block[a] < block[b]; });
  std::vector<std::uint32_t> rank(problem.task_count(), 0);
  std::vector<bool> visited(problem.task_count(), false);
  std::uint32_t next = 0;
  struct Frame {
    ActivityId task;
    std::vector<ActivityId> pending;  // predecessors still to visit, next one last
  };
  std::vector<Frame> stack;
  const auto open = [&](ActivityId task) {
    visited[task] = true;
    Frame frame{task, {}};
    for (const TaskId p : problem.predecessors(TaskId(task)))
      frame.pending.push_back(static_cast<ActivityId>(p.index()));
    std::stable_sort(frame.pending.begin(), frame.pending.end(),
                     [&](ActivityId a, ActivityId b) { return tails[a] < tails[b]; });
    stack.push_back(std::move(frame));
  };
  for (const ActivityId sink : sinks) {
    if (visited[sink]) continue;
    open(sink);
    while (!stack.empty()) {
      Frame& top = stack.back();
      if (top.pending.empty()) {
        rank[top.task] = next++;
        stack.pop_back();
        continue;
      }
      const ActivityId task = top.pending.back();
      top.pending.pop_back();
      if (!visited[task]) open(task);
    }
  }
  return rank;
}

/// Bytes that a task adds to the memory when it runs, less those that it alone still holds back.
std::vector<std::int64_t> memory_effect(const PlacedProblem& placed) {
  std::vector<std::int64_t> effect(placed.task_count(), 0);
  for (ActivityId task = 0; task < placed.task_count(); ++task) {
    for (const std::uint32_t r : placed.made(task)) effect[task] += placed.residence(r).bytes;
    for (const std::uint32_t r : placed.used(task)) {
      effect[task] -= placed.residence(r).bytes / static_cast<std::int64_t>(placed.users(r).size());
    }
  }
  return effect;
}

/// Puts each transfer right before its first consumer.
std::vector<ActivityId> with_transfers(const PlacedProblem& placed, const std::vector<ActivityId>& tasks) {
  std::vector<bool> sent(placed.activity_count(), false);
  std::vector<ActivityId> activities;
  activities.reserve(placed.activity_count());
  for (const ActivityId task : tasks) {
    for (const ActivityId predecessor : placed.predecessors(task)) {
      if (!placed.is_task(predecessor) && !sent[predecessor]) {
        sent[predecessor] = true;
        activities.push_back(predecessor);
      }
    }
    activities.push_back(task);
  }
  return activities;
}

/// Largest excess over a capacity when the activities run one at a time; negative or 0 = fits.
std::int64_t serial_excess(const PlacedProblem& placed, const std::vector<ActivityId>& activities) {
  std::vector<std::int64_t> level = placed.persistent();
  std::vector<std::uint32_t> users_left(placed.residence_count());
  std::vector<bool> live(placed.residence_count(), false);
  for (std::uint32_t r = 0; r < placed.residence_count(); ++r) {
    users_left[r] = static_cast<std::uint32_t>(placed.users(r).size());
  }
  std::int64_t excess = std::numeric_limits<std::int64_t>::min();
  const auto look = [&](DeviceId device, std::int64_t extra) {
    excess = std::max(excess, level[device.index()] + extra - placed.capacity()[device.index()]);
  };
  for (std::size_t d = 0; d < level.size(); ++d) look(DeviceId(d), 0);
  for (const ActivityId activity : activities) {
    const auto arrive = [&](std::uint32_t r) {
      if (live[r]) return;
      live[r] = true;
      level[placed.residence(r).device.index()] += placed.residence(r).bytes;
      look(placed.residence(r).device, 0);
    };
    for (const std::uint32_t r : placed.made(activity)) arrive(r);
    for (const std::uint32_t r : placed.used(activity)) arrive(r);  // inputs of the graph
    if (placed.is_task(activity)) {
      for (const DeviceId device : placed.devices(activity)) look(device, placed.workspace(activity));
    }
    const auto leave = [&](std::uint32_t r) { level[placed.residence(r).device.index()] -= placed.residence(r).bytes; };
    for (const std::uint32_t r : placed.used(activity)) {
      if (--users_left[r] == 0) leave(r);
    }
    for (const std::uint32_t r : placed.made(activity)) {
      if (placed.users(r).empty()) leave(r);
    }
  }
  return excess;
}

}  // namespace

ReferenceOrder reference_order(const PlacedProblem& placed) {
  const Problem& problem = placed.problem();
  const std::vector<std::uint32_t> microbatch_rank = microbatch_ranks(problem);
  std::vector<std::uint64_t> block(problem.task_count());
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const bool optimizer = problem.op(TaskId(t)).phase == Phase::kOptimizer;
    block[t] = optimizer ? microbatch_rank.size() : microbatch_rank[problem.task(TaskId(t)).copy];
  }

  ReferenceOrder best;
  std::int64_t best_excess = std::numeric_limits<std::int64_t>::max();
  const auto consider = [&](const std::vector<ActivityId>& tasks) {
    std::vector<ActivityId> activities = with_transfers(placed, tasks);
    const std::int64_t excess = serial_excess(placed, activities);
    if (excess < best_excess) {
      best_excess = excess;
      best = {std::move(activities), excess <= 0};
    }
    return best.fits;
  };
  // The author's order costs nothing and is usually meant to be run: it goes first.
  if (consider(order_by_key(problem, [&](ActivityId t) { return std::pair(block[t], t); }))) return best;
  const std::vector<std::uint32_t> depth_first = depth_first_ranks(placed, block);
  if (consider(order_by_key(problem, [&](ActivityId t) { return std::pair(block[t], depth_first[t]); }))) return best;
  const std::vector<std::int64_t> effect = memory_effect(placed);
  (void)consider(order_by_key(problem, [&](ActivityId t) { return std::tuple(block[t], effect[t], t); }));
  return best;
}

ReferenceOrder reference_order(const PlacedProblem& placed, std::span<const std::int64_t> starts) {
  // By start among the activities whose predecessors have come: those that take no time may share a start with others.
  using Entry = std::pair<std::int64_t, ActivityId>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> ready;
  std::vector<std::size_t> waiting(placed.activity_count());
  const auto count_down = [&](ActivityId activity) {
    if (waiting[activity] == 0) ready.emplace(starts[activity], activity);
  };
  for (ActivityId activity = 0; activity < placed.activity_count(); ++activity) {
    waiting[activity] = placed.predecessors(activity).size();
    count_down(activity);
  }
  ReferenceOrder order;
  order.activities.reserve(placed.activity_count());
  while (!ready.empty()) {
    const ActivityId activity = ready.top().second;
    ready.pop();
    order.activities.push_back(activity);
    for (const ActivityId successor : placed.successors(activity)) {
      --waiting[successor];
      count_down(successor);
    }
  }
  order.fits = serial_excess(placed, order.activities) <= 0;
  return order;
}

}  // namespace opweave
