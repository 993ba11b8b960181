#include "planner/objective_bounds.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "core/equal_devices.h"
#include "opweave/bounds.h"
#include "planner/restrict.h"

namespace opweave {
namespace {

__extension__ using Wide = __int128;

std::int64_t rounded_up(Wide numerator, Wide denominator) {
  return static_cast<std::int64_t>((numerator + denominator - 1) / denominator);
}

/// Calls visit(stream) for each stream that the task holds.
template <class Visit>
void for_each_stream(const Problem& problem, TaskId task, Visit visit) {
  for (std::uint32_t mask = problem.streams(task); mask != 0; mask &= mask - 1) {
    visit(static_cast<std::size_t>(__builtin_ctz(mask)));
  }
}

/// Device time that the task takes at least: the shortest over modes of duration x devices.
std::int64_t least_work(const Problem& problem, TaskId task) {
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (ModeIndex m = 0; m < problem.mode_count(task); ++m) {
    const Mode mode = problem.mode(task, m);
    least = std::min(least, mode.duration.value() * static_cast<std::int64_t>(mode.devices.size()));
  }
  return least;
}

/// Least device time of all tasks, by stream.
std::vector<Wide> work_of_streams(const Problem& problem) {
  std::vector<Wide> work(problem.cluster().stream_names().size(), 0);
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const std::int64_t least = least_work(problem, TaskId(t));
    for_each_stream(problem, TaskId(t), [&](std::size_t stream) { work[stream] += least; });
  }
  return work;
}

std::int64_t devices_with(const Problem& problem, std::size_t stream) {
  std::int64_t count = 0;
  for (std::size_t d = 0; d < problem.cluster().device_count(); ++d) {
    count += (problem.cluster().stream_mask(DeviceId(d)) >> stream) & 1U;
  }
  return count;
}

bool is_impossible_with(const Problem& problem, const Restriction& restriction, std::optional<Duration> deadline,
                        const Budget& budget) {
  const auto restricted = RestrictedProblem::create(problem, restriction);
  return !restricted || is_proven_impossible(restricted->problem(), deadline, budget);
}

}  // namespace

bool is_proven_impossible(const Problem& problem, std::optional<Duration> deadline, const Budget& budget) {
  if (!infeasibility_proofs(problem).empty()) return true;
  if (!deadline) return false;
  const auto bounds = lower_bounds(problem, budget);
  return !bounds.empty() && bounds.front().value > *deadline;
}

ObjectiveBound period_bound(const Problem& problem) {
  ObjectiveBound bound;
  const Wide microbatches = problem.settings().training.microbatches;
  const std::vector<Wide> work = work_of_streams(problem);
  for (std::size_t s = 0; s < work.size(); ++s) {
    const std::int64_t devices = devices_with(problem, s);
    if (devices == 0) continue;
    bound.raise(rounded_up(rounded_up(work[s], devices), microbatches),
                fmt::format("work of stream \"{}\" over {} devices", problem.cluster().stream_names()[s], devices));
  }
  std::vector<Wide> load(work.size());
  for (std::size_t g = 0; g < problem.group_count(); ++g) {
    std::fill(load.begin(), load.end(), 0);
    for (const TaskId task : problem.tasks_of(GroupId(g))) {
      for_each_stream(problem, task, [&](std::size_t s) { load[s] += problem.shortest(task).value(); });
    }
    const TaskId first = problem.tasks_of(GroupId(g)).front();
    bound.raise(rounded_up(*std::max_element(load.begin(), load.end()), microbatches),
                fmt::format("tasks that share the devices of \"{}\"", problem.task_name(first)));
  }
  return bound;
}

ObjectiveBound peak_memory_bound(const Problem& problem, std::optional<Duration> deadline, Bytes known,
                                 const Budget& budget) {
  // Invariant: impossible at `low` (or -1), not known to be at `high`.
  std::int64_t low = -1;
  std::int64_t high = known.value();
  while (low + 1 < high && !budget.expired()) {
    const std::int64_t middle = low + (high - low) / 2;
    Restriction restriction;
    restriction.memory = Bytes(middle);
    (is_impossible_with(problem, restriction, deadline, budget) ? low : high) = middle;
  }
  ObjectiveBound bound;
  bound.raise(low + 1, deadline ? "no plan with less memory ends by the deadline" : "no plan needs less memory");
  return bound;
}

ObjectiveBound devices_bound(const Problem& problem, std::optional<Duration> deadline, std::int64_t known,
                             const Budget& budget) {
  ObjectiveBound bound;
  if (problem.task_count() == 0) return bound;
  bound.raise(1, "something must run");
  std::vector<bool> is_needed(problem.cluster().device_count(), false);
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    if (problem.mode_count(TaskId(t)) != 1) continue;
    for (const DeviceId device : problem.mode(TaskId(t), 0).devices) is_needed[device.index()] = true;
  }
  bound.raise(std::count(is_needed.begin(), is_needed.end(), true), "tasks that can run nowhere else");
  if (deadline && *deadline > Duration()) {
    const std::vector<Wide> work = work_of_streams(problem);
    for (std::size_t s = 0; s < work.size(); ++s) {
      bound.raise(
          rounded_up(work[s], deadline->value()),
          fmt::format("work of stream \"{}\" in the time of the deadline", problem.cluster().stream_names()[s]));
    }
  }
  std::vector<Wide> capacities;
  bool is_limited = true;
  for (std::size_t d = 0; d < problem.cluster().device_count(); ++d) {
    const std::optional<Bytes> capacity = problem.capacity(DeviceId(d));
    is_limited = is_limited && capacity.has_value();
    if (capacity) capacities.push_back(capacity->value());
  }
  if (is_limited) {
    std::sort(capacities.rbegin(), capacities.rend());
    Wide parameters = 0;
    std::vector<bool> is_read(problem.graph().parameters().size(), false);
    for (const Operator& op : problem.graph().operators()) {
      for (const ParameterId parameter : op.parameters) is_read[parameter.index()] = true;
    }
    for (std::size_t p = 0; p < is_read.size(); ++p) {
      if (is_read[p]) parameters += problem.persistent_bytes(ParameterId(p)).value();
    }
    std::int64_t needed = 0;
    for (Wide room = 0; room < parameters && static_cast<std::size_t>(needed) < capacities.size(); ++needed) {
      room += capacities[static_cast<std::size_t>(needed)];
    }
    bound.raise(needed, "parameters in the largest memories");
  }
  if (!devices_are_alike(problem)) return bound;
  while (bound.value < known && !budget.expired()) {
    Restriction restriction;
    restriction.devices.emplace();
    for (std::int64_t d = 0; d < bound.value; ++d) restriction.devices->emplace_back(static_cast<std::size_t>(d));
    if (!is_impossible_with(problem, restriction, deadline, budget)) break;
    bound.raise(bound.value + 1, fmt::format("no plan on {} devices {}", bound.value,
                                             deadline ? "ends by the deadline" : "fits in memory"));
  }
  return bound;
}

ObjectiveBound utilisation_bound(const Problem& problem, Duration makespan_bound) {
  ObjectiveBound bound;
  if (makespan_bound == Duration()) return bound;
  Wide most = 0;
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    if ((problem.streams(TaskId(t)) & 1U) == 0) continue;  // stream 0 is "compute"
    std::int64_t longest = 0;
    for (ModeIndex m = 0; m < problem.mode_count(TaskId(t)); ++m) {
      const Mode mode = problem.mode(TaskId(t), m);
      longest = std::max(longest, mode.duration.value() * static_cast<std::int64_t>(mode.devices.size()));
    }
    most += longest;
  }
  const Wide whole = Wide{makespan_bound.value()} * static_cast<std::int64_t>(problem.cluster().device_count());
  if (most >= whole) return bound;
  bound.raise(static_cast<std::int64_t>((whole - most) * 1'000'000'000 / whole),
              "all work of the compute streams within the lower bound of the makespan");
  return bound;
}

}  // namespace opweave
