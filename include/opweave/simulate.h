/// Event simulation: what happens when a cluster follows the order of a plan.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// Tasks that a device runs as one indivisible piece: it starts when the inputs of all of them from
/// outside are present and all streams of all of them are free, holds these streams until its end, and
/// all outputs appear at its end. `offsets` are the starts of the tasks within the piece. A single task
/// is a block of one.
struct Block {
  std::vector<TaskId> tasks;
  std::vector<Duration> offsets;  ///< one per task, from the start of the block
  Duration duration;              ///< at least every offset + duration of the task, unless `fixed_duration`
  /// The duration is stated rather than implied by the tasks (a measured overlapped pair, which may
  /// be shorter than its parts one after the other); such a result is no valid plan by rule 1.
  bool fixed_duration = false;
};

/// The order in which everything runs, without times: what a schedule prescribes and a cluster follows.
struct ExecutionOrder {
  std::vector<ModeIndex> modes;             ///< by TaskId
  std::vector<std::vector<Block>> devices;  ///< per device, blocks in the order of their start
};

struct SimulationOptions {
  Contention contention = Contention::kNone;
  /// Compute runs this many times slower while a stream other than "compute" of the device is busy; >= 1.
  double compute_slowdown = 1.0;
  /// Duration of each task instead of that of its mode (by TaskId); empty = those of the modes.
  std::vector<Duration> durations;
};

/// What came out: times of tasks and transfers, or the tasks that wait for each other.
struct SimulationResult {
  Schedule schedule;                ///< starts (complete only without a deadlock)
  std::vector<Duration> task_ends;  ///< by TaskId; differ from start + mode duration under other durations or slowdown
  std::vector<TaskId> deadlocked;   ///< tasks never started; empty = all ran
  Duration makespan;
};

/// Runs an order: on each device each stream takes its blocks in the given order, each block as early
/// as its inputs, streams and, for transfers, the contention model allow. A transfer starts when the
/// value exists and its links are free, first come first served (ties by value, destination).
/// O(n log n).
[[nodiscard]] SimulationResult simulate(const Problem& problem, const ExecutionOrder& order,
                                        const SimulationOptions& options = {});

/// The order that a schedule prescribes: tasks of each device by start, one block each.
[[nodiscard]] ExecutionOrder execution_order(const Problem& problem, const Schedule& schedule);

}  // namespace opweave
