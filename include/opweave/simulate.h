/// Event simulation: what happens when a cluster follows the order of a plan.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "opweave/channel_model.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave {

/// Tasks that a device runs as one indivisible piece: it starts when the inputs of all of them from
/// outside are present and all streams of all of them are free, holds these streams until its end, and
/// all outputs appear at its end. `offsets` are the starts of the tasks within the piece. A single task
/// is a block of one. A block of zero duration occupies nothing: it waits for the blocks before it to
/// start, not to end.
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
  std::vector<ModeIndex> modes;  ///< by TaskId
  /// Per device, blocks in the order of their start. A task on several devices is listed on each of
  /// them; blocks that share such a task start together and end with the longest of them.
  std::vector<std::vector<Block>> devices;
};

/// What a device comes to, one after the other, when it follows a list: a task, or its end of a message.
struct Turn {
  enum class Kind : std::uint8_t { kTask, kSend, kReceive };
  Kind kind = Kind::kTask;
  TaskId task;    ///< for kTask
  ValueId value;  ///< of a message
  DeviceId peer;  ///< where a message goes, or comes from
};
/// Turns of every device.
using MessageTurns = std::vector<std::vector<Turn>>;

struct SimulationOptions {
  Contention contention = Contention::kNone;
  /// Compute runs this many times slower while another task holds a stream other than "compute" of
  /// the device; 1 to 1000, rounded to millionths. A task ends at the first whole nanosecond at which
  /// its work is done. Blocks of stated duration are not slowed.
  double compute_slowdown = 1.0;
  /// Duration of each task instead of that of its mode (by TaskId); empty = those of the modes.
  /// With other durations or a slowdown, the offsets of a block give only the order of its tasks: each
  /// starts when the tasks of the block that it needs, or that hold its streams before it, have ended,
  /// and the block ends with its last task. Blocks of stated duration keep it.
  std::vector<Duration> durations;
  /// How messages take turns beside that. With queues, both ends of a message have a place in `turns`: an end takes
  /// its place in its queue when the tasks before it on its device have ended, and begins when it is the first there.
  ChannelModel channels = {};
  MessageTurns turns = {};  ///< by device; looked at only where `channels` has queues
};

/// What came out: times of tasks and transfers, or the tasks that wait for each other.
struct SimulationResult {
  Schedule schedule;  ///< modes, starts and transfers (complete only without a deadlock)
  /// By TaskId; differ from start + mode duration under other durations or slowdown, and in a block of
  /// stated duration, whose tasks all end with it.
  std::vector<Duration> task_ends;
  std::vector<TaskId> deadlocked;  ///< tasks never started, ascending; empty = all ran
  std::string deadlock;            ///< who waits for whom, in one line; empty = all ran
  Duration makespan;               ///< end of the last block that ran
};

/// Runs an order: on each device each stream takes its blocks in the given order, each block as early
/// as its inputs, streams and, for transfers, the contention model allow. A block may so overtake an
/// earlier one of its device with which it shares no stream. Each value is sent once to each device
/// where a consumer runs and it is not made, from the device where it is made (of a gang, the member with the
/// shortest transfer, ties by id). A transfer starts when the value exists and its links are free,
/// first come first served: every endpoint or link serves the transfers in the order in which their
/// values appear (ties by value, destination), and a transfer keeps its place while it waits for
/// another link. Transfers that take no time wait for nobody.
///
/// The settings of the problem do not matter: contention is that of the options, memory is not
/// limited (see memory_curves). O(n log n) for n tasks, edges and transfers.
/// \throws InputError if the order does not list every task once on each device of its mode and
///   nowhere else, a block has the wrong number of offsets, ends before one of its tasks or starts a
///   task before one that it needs, an option is out of range, `turns` do not list both ends of every message once, or
///   a time exceeds 2^62 ns.
[[nodiscard]] SimulationResult simulate(const Problem& problem, const ExecutionOrder& order,
                                        const SimulationOptions& options = {});

/// Where exports place the messages of an order (docs/messages.md): one order of all tasks and messages, tasks by their
/// ends, messages by the ends of what makes them, after all tasks that end by then; every device's turns follow it, so
/// that no messages wait in a circle. `order` is that of the schedule. O(n log n).
[[nodiscard]] MessageTurns message_turns(const Problem& problem, const ExecutionOrder& order, const Schedule& schedule);

/// The order that a schedule prescribes: tasks of each device by start (ties by id), one block each; where the settings
/// of the problem ask for blocks (docs/blocks.md), the tasks of a piece together.
/// Without contention, and where the schedule is valid, simulating it starts and ends nothing later
/// than the schedule does.
[[nodiscard]] ExecutionOrder execution_order(const Problem& problem, const Schedule& schedule);

}  // namespace opweave
