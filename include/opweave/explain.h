/// Why a plan takes as long as it does. docs/explain.md has the definitions and why the parts sum up.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "opweave/plan.h"
#include "opweave/problem.h"
#include "opweave/quantity.h"
#include "opweave/schedule.h"

namespace opweave {

/// Why the compute stream of a device is idle.
enum class IdleCause : std::uint8_t {
  kRampUp,    ///< before the first operator of the device
  kRampDown,  ///< after the last one
  kUnused,    ///< the device runs nothing at all
  kInput,     ///< the next operator needs one that still runs, or waits, on another device
  kTransfer,  ///< all of those have ended, but an input is still on its way
  kStream,    ///< another stream: it makes what the next operator needs, or is held by somebody else
  kMemory,    ///< everything is there, but the next operator does not fit into memory yet
  kHeld,      ///< the next operator could start; the plan starts it later
};
inline constexpr std::size_t kIdleCauses = 8;
/// "ramp-up", "ramp-down", "unused", "input", "transfer", "stream", "memory", "held".
[[nodiscard]] std::string_view to_string(IdleCause cause);

/// A stretch in which the compute stream of a device is idle for one cause.
struct IdleSpan {
  DeviceId device;
  IdleCause cause = IdleCause::kHeld;
  Duration from;
  Duration until;
  std::optional<TaskId> next;           ///< who starts after the gap; nothing in a ramp-down
  std::optional<TaskId> waits_for;      ///< kInput, kStream, kMemory: the task whose end ends this stretch
  std::optional<std::size_t> transfer;  ///< kTransfer, kMemory: the transfer (of the schedule) whose end ends it
};

/// Idle time of one device by cause. The values sum to its bubble exactly.
using IdleByCause = std::array<Duration, kIdleCauses>;

/// What a task or transfer had to wait for last.
enum class Binding : std::uint8_t {
  kStart,     ///< nothing: the iteration begins
  kInput,     ///< the end of a task that makes an input, or that it runs after
  kTransfer,  ///< the end of a transfer that brings an input
  kStream,    ///< the end of the task before it on a stream
  kLink,      ///< the end of the transfer before it on an endpoint or link
  kMemory,    ///< the release of memory
};
/// "start", "input", "transfer", "stream", "link", "memory".
[[nodiscard]] std::string_view to_string(Binding binding);

/// The last condition of a start. Nothing else stands against a start at `since`.
struct StartReason {
  Binding binding = Binding::kStart;
  Duration since;                       ///< when the condition was met; at most the start
  std::optional<TaskId> task;           ///< whose end met it
  std::optional<std::size_t> transfer;  ///< or the transfer of the schedule whose end met it
};

/// One step of the critical path: a task, a transfer, or (neither) time in which the plan holds the next step back.
struct PathStep {
  Duration from;
  Duration until;
  std::optional<TaskId> task;
  std::optional<std::size_t> transfer;
  Binding binding = Binding::kStart;  ///< how it follows from the step before it
};

/// What a step of the path is spent on: "attention F" (kind and phase of the operator), "transfers", "waiting for
/// memory", "held back by the plan".
[[nodiscard]] std::string spent_on(const Problem& problem, const PathStep& step);
/// The path summed up by spent_on, the longest time first.
struct PathShare {
  std::string what;
  Duration time;
  std::size_t steps = 0;
};
[[nodiscard]] std::vector<PathShare> path_shares(const Problem& problem, const std::vector<PathStep>& path);

/// Explains one valid schedule. Building costs O(n log n) for n tasks, edges and transfers, and keeps a copy of both.
class Explanation {
 public:
  /// \pre schedule is a valid plan for problem, or at least one without overlaps on a stream.
  Explanation(const Problem& problem, const Schedule& schedule);
  ~Explanation();
  Explanation(Explanation&&) noexcept;
  Explanation& operator=(Explanation&&) noexcept;

  [[nodiscard]] Duration makespan() const;
  [[nodiscard]] StartReason reason(TaskId task) const;
  /// \param transfer  index into Schedule::transfers
  [[nodiscard]] StartReason transfer_reason(std::size_t transfer) const;

  /// All idle stretches of the compute streams, by device, then time; none is empty.
  [[nodiscard]] std::vector<IdleSpan> idle_spans() const;
  /// By DeviceId.
  [[nodiscard]] std::vector<IdleByCause> idle_by_cause() const;
  /// A chain without holes from time 0 to the makespan, in order of time; of several, the one through the
  /// smallest ids. Empty if the makespan is 0.
  [[nodiscard]] std::vector<PathStep> critical_path() const;
  /// By TaskId: how much later a task may end, everything after it in the same order on streams and links, without
  /// a longer makespan. Memory is left out: whoever runs later may hold its inputs longer.
  [[nodiscard]] std::vector<Duration> slack() const;

 private:
  struct Data;
  std::unique_ptr<const Data> data_;
};

/// What becomes of a plan if an operator runs elsewhere.
struct Alternative {
  DeviceId device;
  std::optional<Duration> makespan;  ///< simulated; nothing where it cannot run there
  bool fits_memory = true;           ///< every device keeps to its capacity
  std::string obstacle;              ///< why it cannot run there, in a few words
};

/// The devices on which an operator could run instead. All its tasks that run on `from` move together, with
/// everything that must share their device; all keep the order of their starts, and the result is simulated
/// under the contention of the problem. One entry per other device, ascending. O(devices x n log n).
struct Alternatives {
  DeviceId from;
  std::size_t moved_tasks = 0;  ///< that move, those of the operator included
  Duration stays;               ///< makespan of the same simulation without a move
  std::vector<Alternative> others;
};
/// One for each device on which the operator runs alone; empty for gangs.
[[nodiscard]] std::vector<Alternatives> alternatives(const Problem& problem, const Schedule& schedule, OperatorId op);

/// Everything that Explanation says of a valid plan, with names in place of ids (docs/explain.md).
[[nodiscard]] std::string explanation_to_json(const Problem& problem, const Plan& plan);
[[nodiscard]] std::string alternatives_to_json(const Problem& problem, const std::vector<Alternatives>& all);

}  // namespace opweave
