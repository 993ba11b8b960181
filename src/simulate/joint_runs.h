/// An execution order made ready for the simulation: checked, numbered, gangs tied together.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "opweave/simulate.h"

namespace opweave::simulation {

/// Sums and products that may exceed 64 bits.
__extension__ using Wide = __int128;

/// One task of a run.
struct Member {
  TaskId task;
  Duration offset;  ///< from the start of the run
};

/// Blocks that run as one: a block, or several that a task on several devices ties together.
struct JointRun {
  std::uint32_t first_member = 0;
  std::uint32_t member_count = 0;
  std::uint32_t first_slot = 0;
  std::uint32_t slot_count = 0;
  Duration duration;
  bool fixed_duration = false;
};

/// The runs of an order. A queue is one stream of one device: queue = device x streams + stream.
struct JointRuns {
  std::vector<JointRun> runs;
  std::vector<Member> members;             ///< run after run; within one by offset, then id: a topological order
  std::vector<std::uint32_t> slots;        ///< run after run: the queues that it holds
  std::vector<std::uint32_t> run_of;       ///< by TaskId
  std::vector<std::uint32_t> queue_first;  ///< per queue, and one more: its part of queue_runs
  std::vector<std::uint32_t> queue_runs;

  // By TaskId: the chosen mode.
  std::vector<std::span<const DeviceId>> devices;
  std::vector<Duration> durations;

  [[nodiscard]] std::span<const Member> members_of(std::size_t run) const {
    return std::span(members).subspan(runs[run].first_member, runs[run].member_count);
  }
  [[nodiscard]] bool is_on(TaskId task, DeviceId device) const {
    return std::ranges::binary_search(devices[task.index()], device);
  }
  /// \param as_one  its duration is that of the run, not what its tasks come to
  [[nodiscard]] bool takes_no_time(std::size_t run, bool as_one) const;
  /// By run, how many things must have happened before it starts: each input from outside is present on each device of
  /// each of its tasks, each control predecessor has ended, each of its streams has come to it.
  [[nodiscard]] std::vector<std::uint64_t> conditions(const Problem& problem) const;
  [[nodiscard]] std::span<const std::uint32_t> slots_of(std::size_t run) const {
    return std::span(slots).subspan(runs[run].first_slot, runs[run].slot_count);
  }
};

/// \param slowed  durations are not known beforehand: blocks need not be as long as their tasks.
/// \throws InputError as simulate() does.
[[nodiscard]] JointRuns make_joint_runs(const Problem& problem, const ExecutionOrder& order,
                                        const std::vector<Duration>& durations, bool slowed);

/// Pairs (earlier, later) of positions among the members of a run, such that the later one starts
/// after the earlier one has ended: it needs it, or holds one of its streams after it.
[[nodiscard]] std::vector<std::pair<std::uint32_t, std::uint32_t>> edges_within(const Problem& problem,
                                                                                const JointRuns& runs, std::size_t run);

}  // namespace opweave::simulation
