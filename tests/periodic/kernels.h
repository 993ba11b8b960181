/// Kernels of small problems, and what they unroll to.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "list_scheduling/list_scheduler.h"
#include "list_scheduling/placed_problem.h"
#include "list_scheduling/priority_rules.h"
#include "list_scheduling/reference_order.h"
#include "opweave/check.h"
#include "opweave/plan.h"
#include "periodic/kernel.h"
#include "placement/placement.h"
#include "support/random_problems.h"
#include "support/violation.h"

namespace opweave::testing {

/// List schedules of the first placement that fits.
inline std::vector<Schedule> list_schedules(const Problem& problem) {
  std::vector<Schedule> result;
  for (const PlacementGuess& guess : guess_placements(problem)) {
    const auto placed = PlacedProblem::create(problem, guess.modes);
    if (!placed) continue;
    const ReferenceOrder reference = reference_order(*placed);
    if (!reference.fits) continue;
    for (const PriorityRule& rule : priority_rules(*placed, reference)) {
      result.push_back(placed->schedule(list_schedule(*placed, reference, rule.priority)));
    }
    return result;
  }
  return result;
}

/// The body of a problem with one mode per task.
inline std::shared_ptr<const periodic::LoopBody> unit_of(const Problem& problem) {
  const std::vector<std::uint32_t> ones(problem.settings().training.replicas, 1);
  Problem one = periodic::with_microbatches(problem, ones);
  std::vector<ModeIndex> modes(one.task_count(), 0);
  return periodic::LoopBody::create(std::move(one), std::move(modes), problem.settings().training.microbatches);
}

/// One microbatch after the other, each as early as its chain allows: precedence and nothing else.
inline std::vector<periodic::Time> chain_starts(const periodic::LoopBody& body) {
  const periodic::Network& network = body.network();
  std::vector<periodic::Time> starts(network.node_count, 0);
  for (const periodic::Node node : body.nodes()) {
    for (const periodic::Node before : network.predecessors[node]) {
      starts[node] = std::max(starts[node], starts[before] + network.duration[before]);
    }
  }
  return starts;
}

/// Repetition i of every node at its start in the kernel + i periods, O operators after everything, on a problem
/// without contention.
inline Schedule unrolled(const periodic::Kernel& kernel, const Problem& whole) {
  std::vector<ModeIndex> modes(whole.task_count());
  const Problem& one = kernel.body->placed().problem();
  for (std::size_t t = 0; t < modes.size(); ++t) {
    const Task& task = whole.task(TaskId(t));
    modes[t] = kernel.body->placed().modes()[one.task_of(task.op, task.replica).index()];
  }
  const auto placed = PlacedProblem::create(whole, modes);
  std::vector<std::int64_t> starts(placed->activity_count(), 0);
  std::vector<std::uint32_t> repetition(whole.settings().training.microbatches);
  for (const auto& list : periodic::microbatches_by_replica(whole)) {
    for (std::size_t i = 0; i < list.size(); ++i) repetition[list[i]] = static_cast<std::uint32_t>(i);
  }
  std::int64_t first = 0;
  for (const periodic::Node node : kernel.body->nodes()) first = std::min(first, kernel.starts[node]);
  for (ActivityId activity = 0; activity < placed->activity_count(); ++activity) {
    periodic::Node node = periodic::kNone;
    std::uint32_t microbatch = 0;
    if (placed->is_task(activity)) {
      const Task& task = whole.task(TaskId(activity));
      microbatch = task.copy;
      node = kernel.body->node_of_task(task.op, task.replica);
    } else {
      const NecessaryTransfer& transfer = placed->transfer(activity);
      microbatch = whole.copy_of(transfer.value);
      node = kernel.body->node_of_transfer(whole.tensor_of(transfer.value),
                                           whole.settings().training.replica_of(microbatch), transfer.destination);
    }
    if (node != periodic::kNone) {
      starts[activity] = kernel.starts[node] - first + kernel.period * repetition[microbatch];
    } else if (!placed->is_task(activity)) {  // takes neither time nor memory
      const ActivityId producer = placed->predecessors(activity).front();
      starts[activity] = starts[producer] + placed->duration(producer);
    }
  }
  return placed->schedule(starts);
}

}  // namespace opweave::testing
