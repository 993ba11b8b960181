/// One way to spoil a valid plan, and what such ways are made of.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "opweave/check.h"
#include "support/serial_plan.h"

namespace opweave::testing {

/// One kind of corruption.
struct Spoiler {
  std::string name;
  Rule rule;         ///< that must be among the violations
  std::string text;  ///< that a message of this rule must contain: the check found this and not something else
  /// Spoils the plan; false if the plan offers no opportunity, and then nothing has changed.
  std::function<bool(const Problem&, Plan&, Random&)> spoil;
};

inline PlannedTask& planned(const Problem& problem, Plan& plan, TaskId task) {
  const Task& wanted = problem.task(task);
  return *std::find_if(plan.tasks.begin(), plan.tasks.end(),
                       [&](const PlannedTask& t) { return t.op == wanted.op && t.copy == wanted.copy; });
}

inline void move_to(PlannedTask& task, std::int64_t start) {
  task.end = Duration(start) + (task.end - task.start);
  task.start = Duration(start);
}

inline void move_to(PlannedTransfer& transfer, std::int64_t start) {
  transfer.end = Duration(start) + (transfer.end - transfer.start);
  transfer.start = Duration(start);
}

inline bool holds(const std::vector<DeviceId>& devices, DeviceId device) {
  return std::find(devices.begin(), devices.end(), device) != devices.end();
}

/// Tries random tasks until one can be spoiled.
template <class Try>
bool some_task(const Problem& problem, Random& random, Try attempt) {
  std::vector<TaskId> tasks;
  for (std::size_t t = 0; t < problem.task_count(); ++t) tasks.emplace_back(t);
  random.shuffle(tasks);
  return std::ranges::any_of(tasks, attempt);
}

template <class Try>
bool some_transfer(Plan& plan, Random& random, Try attempt) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < plan.transfers.size(); ++i) order.push_back(i);
  random.shuffle(order);
  return std::ranges::any_of(order, [&](std::size_t i) { return attempt(plan.transfers[i]); });
}

inline DeviceId random_device(const Problem& problem, Random& random) {
  return DeviceId(random.below(problem.cluster().device_count()));
}

/// Runs `task` just before the end of `earlier`.
inline bool start_too_early(const Problem& problem, Plan& plan, TaskId earlier, TaskId task) {
  const Duration end = planned(problem, plan, earlier).end;
  if (end == Duration()) return false;
  move_to(planned(problem, plan, task), end.value() - 1);
  return true;
}

/// Moves a task, one of several that must be together, to one other device.
inline bool move_away(const Problem& problem, Plan& plan, TaskId task, Random& random) {
  PlannedTask& moved = planned(problem, plan, task);
  const DeviceId device = random_device(problem, random);
  if (moved.devices == std::vector<DeviceId>{device}) return false;
  moved.devices = {device};
  return true;
}

/// Starts a transfer while another one lasts with which it shares something.
template <class Share>
bool clash(Plan& plan, Random& random, Share share) {
  return some_transfer(plan, random, [&](const PlannedTransfer& a) {
    return some_transfer(plan, random, [&](PlannedTransfer& b) {
      if (&a == &b || a.start >= a.end || b.start >= b.end || !share(a, b)) return false;
      move_to(b, random.between(a.start.value(), a.end.value() - 1));
      return true;
    });
  });
}

inline bool share_a_link(const Cluster& cluster, const PlannedTransfer& a, const PlannedTransfer& b) {
  const auto one = cluster.route(a.source, a.destination);
  const auto other = cluster.route(b.source, b.destination);
  if (one->hops.empty() || other->hops.empty()) {
    return one->hops.empty() && other->hops.empty() && a.source == b.source && a.destination == b.destination;
  }
  for (const Hop& x : one->hops) {
    for (const Hop& y : other->hops) {
      if (x.link == y.link && (x.forward == y.forward || !cluster.links()[x.link.index()].full_duplex)) return true;
    }
  }
  return false;
}

inline PlannedTransfer transfer_of(const Problem& problem, ValueId value, DeviceId from, DeviceId to, Duration start) {
  const auto lasts = problem.transfer_time(value, from, to);
  return {problem.tensor_of(value), problem.copy_of(value), from, to, start, start + lasts.value_or(Duration())};
}

/// Changes one number of the statistics.
inline bool falsify_statistics(Plan& plan, Random& random) {
  PlanStatistics& s = plan.statistics;
  DeviceStatistics& d = random.pick(s.devices);
  const std::int64_t by = random.chance(50) ? random.between(1, 5) : -random.between(1, 5);
  switch (random.below(11)) {
    case 0:
      s.period += Duration(by);
      break;
    case 1:
      s.bubble_ratio += 1e-6 * static_cast<double>(by);
      break;
    case 2:
      s.utilisation += 1e-6 * static_cast<double>(by);
      break;
    case 3:
      s.bytes_moved += Bytes(by);
      break;
    case 4:
      s.parameter_copies += 1;
      break;
    case 5:
      d.compute_busy += Duration(by);
      break;
    case 6:
      d.bubble += Duration(by);
      break;
    case 7:
      d.span_idle += Duration(by);
      break;
    case 8:
      d.peak_memory += Bytes(by);
      break;
    case 9:
      d.persistent_memory += Bytes(by);
      break;
    default:
      (random.chance(50) ? d.bytes_sent : d.bytes_received) += Bytes(by);
      break;
  }
  return true;
}

}  // namespace opweave::testing
