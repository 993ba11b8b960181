#include "periodic/find_kernel.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

namespace opweave::periodic {
namespace {

/// Repetitions whose course through the pipeline is tried, as shares of all: what is before and after the middle still
/// has something of the ramps.
constexpr double kMiddle[] = {0.5, 0.4, 0.6, 0.33};
/// How much shorter than the distance of its repetitions the period of a schedule's kernel may be.
constexpr double kFarthest = 1.3;

/// Starts of the nodes of a body in one repetition of a schedule.
std::vector<Time> course(const LoopBody& body, const Problem& problem, const Schedule& schedule,
                         const std::vector<std::uint32_t>& microbatches) {
  const Network& network = body.network();
  const PlacedProblem& placed = body.placed();
  const Problem& one = placed.problem();
  std::vector<Time> starts(network.node_count, 0);
  std::map<std::pair<ValueId, DeviceId>, Time> arrivals;
  for (const Transfer& transfer : schedule.transfers) {
    arrivals[{transfer.value, transfer.destination}] = transfer.start.value();
  }
  for (const Node node : body.nodes()) {
    const ActivityId activity = network.activity_of_node[node];
    if (placed.is_task(activity)) {
      const Task& task = one.task(TaskId(activity));
      starts[node] = schedule.tasks[problem.task_of(task.op, microbatches[task.replica]).index()].start.value();
    } else {
      const NecessaryTransfer& transfer = placed.transfer(activity);
      const std::uint32_t microbatch = microbatches[one.settings().training.replica_of(one.copy_of(transfer.value))];
      starts[node] = arrivals.at({problem.value_of(one.tensor_of(transfer.value), microbatch), transfer.destination});
    }
  }
  return starts;
}

/// The shortest of a few periods at which the orders of these starts, at this distance of the repetitions, give a
/// kernel that fits in memory.
std::optional<Kernel> shortest_kernel(const std::shared_ptr<const LoopBody>& body, const std::vector<Time>& starts,
                                      Time distance) {
  const Time least = least_period(*body);
  const auto fitting = [&](std::span<const Time> at, Time period) -> std::optional<Kernel> {
    std::optional<Kernel> kernel = kernel_from_order(body, at, period);
    return kernel && fits_in_memory(*kernel) ? kernel : std::nullopt;
  };
  // Stretched or shrunk, laps and orders stay as they are.
  const auto scaled = [&](Time period) {
    std::vector<Time> result = starts;
    const double factor = static_cast<double>(period) / static_cast<double>(distance);
    for (Time& start : result) start = static_cast<Time>(static_cast<double>(start) * factor);
    return fitting(result, period);
  };
  // Far below the distance that they have, the orders are of no use.
  if (static_cast<double>(distance) <= kFarthest * static_cast<double>(least)) {
    if (std::optional<Kernel> kernel = scaled(least)) return kernel;
  }
  // From the distance on fewer repetitions run at a time.
  const Time span = *std::ranges::max_element(starts) - *std::ranges::min_element(starts);
  for (Time period = std::max(least, distance);; period += period / 4) {
    if (std::optional<Kernel> kernel = fitting(starts, period)) return kernel;
    if (period > 2 * span) return std::nullopt;
  }
}

}  // namespace

Time distance_of_repetitions(const Problem& problem, const Schedule& schedule) {
  const std::vector<std::uint32_t> microbatches = microbatches_by_replica(problem).front();
  const std::size_t first = microbatches.size() / 4;
  const std::size_t last = microbatches.size() - 1 - first;
  if (last <= first) return schedule.makespan(problem).value();
  std::vector<Time> lengths;
  for (const OperatorId op : problem.graph().topological_order()) {
    if (problem.graph().at(op).phase == Phase::kOptimizer) continue;
    const auto start = [&](std::size_t i) {
      return schedule.tasks[problem.task_of(op, microbatches[i]).index()].start.value();
    };
    lengths.push_back(start(last) - start(first));
  }
  std::ranges::nth_element(lengths, lengths.begin() + static_cast<std::ptrdiff_t>(lengths.size() / 2));
  return std::max<Time>(1, lengths[lengths.size() / 2] / static_cast<Time>(last - first));
}

std::optional<Kernel> kernel_from_schedule(const Problem& whole, const Problem& problem, const Schedule& schedule) {
  const auto lists = microbatches_by_replica(problem);
  std::size_t least = lists.front().size();
  for (const auto& list : lists) least = std::min(least, list.size());
  if (least == 0) return std::nullopt;
  std::size_t repeats = 0;
  for (const auto& list : microbatches_by_replica(whole)) repeats = std::max(repeats, list.size());
  const std::vector<std::uint32_t> ones(lists.size(), 1);
  const Problem one = with_microbatches(problem, ones);

  const Time distance = distance_of_repetitions(problem, schedule);
  std::optional<Kernel> best;
  std::shared_ptr<const LoopBody> body;
  for (const double share : kMiddle) {
    const auto index = static_cast<std::size_t>(share * static_cast<double>(least));
    std::vector<std::uint32_t> microbatches;
    for (const auto& list : lists) microbatches.push_back(list[std::min(index, list.size() - 1)]);
    std::vector<ModeIndex> modes(one.task_count());
    for (std::size_t t = 0; t < modes.size(); ++t) {
      const Task& task = one.task(TaskId(t));
      const bool per_replica = one.op(TaskId(t)).phase == Phase::kOptimizer;
      const std::uint32_t copy = per_replica ? task.copy : microbatches[task.replica];
      modes[t] = schedule.tasks[problem.task_of(task.op, copy).index()].mode;
    }
    if (!body || body->placed().modes() != modes) body = LoopBody::create(one, std::move(modes), repeats);
    if (!body) continue;
    std::optional<Kernel> kernel = shortest_kernel(body, course(*body, problem, schedule, microbatches), distance);
    if (kernel && (!best || kernel->period < best->period)) best = std::move(kernel);
    if (best && best->period == least_period(*best->body)) break;
  }
  return best;
}

Duration makespan_of_whole_like(const Problem& whole, const Problem& problem, const Schedule& schedule) {
  Time distance = distance_of_repetitions(problem, schedule);
  if (const auto kernel = kernel_from_schedule(whole, problem, schedule)) {
    distance = std::max(distance, least_period(*kernel->body));
  }
  const std::size_t more =
      microbatches_by_replica(whole).front().size() - microbatches_by_replica(problem).front().size();
  return schedule.makespan(problem) + Duration(distance * static_cast<Time>(more));
}

}  // namespace opweave::periodic
