/// Everything that a planner may look at: the graph repeated over microbatches, on a cluster.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "opweave/blocks.h"
#include "opweave/cluster.h"
#include "opweave/graph.h"
#include "opweave/id.h"
#include "opweave/quantity.h"
#include "opweave/training.h"

namespace opweave {

/// What may be changed about a graph and a cluster without editing their files.
struct ProblemSettings {
  Training training;
  Contention contention = Contention::kNone;
  std::optional<Bytes> memory_limit;  ///< replaces the capacity of every device
  Blocks blocks = Blocks::kNone;      ///< what runs in one piece (docs/blocks.md)
  MemoryModes memory_modes = {};      ///< of values whose tensor does not say (docs/memory-modes.md)
  bool operator==(const ProblemSettings&) const = default;
};

/// The settings that the graph's and the cluster's authors gave.
[[nodiscard]] ProblemSettings default_settings(const ComputationGraph& graph, const Cluster& cluster);

/// What a user says instead; nothing = as the authors say.
struct SettingsOverride {
  std::optional<std::uint32_t> microbatches;
  std::optional<std::uint32_t> replicas;
  std::optional<Contention> contention;
  std::optional<Bytes> memory_limit;
  std::optional<Blocks> blocks;
  std::optional<MemoryModes> memory_modes = {};
};
/// The settings with what is overridden. A binding of microbatches to replicas is for the numbers that its author had
/// in mind: it goes where one of the two is overridden.
[[nodiscard]] ProblemSettings overridden(ProblemSettings settings, const SettingsOverride& by);

/// Index of a mode among the modes of one task.
using ModeIndex = std::uint32_t;

namespace detail {
struct ProblemData;
}

/// One way to run a task.
struct Mode {
  std::span<const DeviceId> devices;  ///< ascending; one device, or a gang
  Duration duration;
  Bytes workspace;  ///< on each of the devices, while the task runs
};

/// One way to place a group: all its tasks run on these devices, each in its mode there.
struct Option {
  std::span<const DeviceId> devices;  ///< ascending; one device, or a gang
};

/// One operator instance. `copy` is the microbatch, or the replica for operators of phase O.
struct Task {
  OperatorId op;
  std::uint32_t copy = 0;
  std::uint32_t replica = 0;
};

/// The planning problem of docs/concepts.md after expansion: tasks, values (tensor instances) and
/// groups in flat arrays. Immutable; cheap to copy (shares its data); safe to read from threads.
class Problem {
 public:
  /// Expands and checks. O(tasks + edges).
  /// \throws InputError where no plan can be valid whatever the order: an operator without an
  ///   allowed device that has its streams, an unknown device name, a duration that neither a
  ///   measurement nor a rate gives, a colocation group or shared parameter whose operators have no
  ///   device in common, anti-colocation inside one group, or total work that overflows 63 bits.
  static Problem create(ComputationGraph graph, Cluster cluster, ProblemSettings settings);
  static Problem create(ComputationGraph graph, Cluster cluster);

  [[nodiscard]] const ComputationGraph& graph() const;
  [[nodiscard]] const Cluster& cluster() const;
  [[nodiscard]] const ProblemSettings& settings() const;

  // Tasks. Ids are microbatch-major in the graph's topological order, optimizer tasks last, so
  // ascending ids are a topological order of the tasks.
  [[nodiscard]] std::size_t task_count() const;
  [[nodiscard]] const Task& task(TaskId task) const;
  [[nodiscard]] const Operator& op(TaskId task) const;
  /// "operator" for one microbatch and one replica, else "operator#copy".
  [[nodiscard]] std::string task_name(TaskId task) const;
  /// The task of an operator for a microbatch (or replica, for phase O).
  [[nodiscard]] TaskId task_of(OperatorId op, std::uint32_t copy) const;
  /// Bit s set = holds stream s while it runs. Never 0.
  [[nodiscard]] std::uint32_t streams(TaskId task) const;

  // Modes. At least one per task.
  [[nodiscard]] ModeIndex mode_count(TaskId task) const;
  [[nodiscard]] Mode mode(TaskId task, ModeIndex index) const;
  /// The mode that runs on this device alone.
  [[nodiscard]] std::optional<ModeIndex> mode_on(TaskId task, DeviceId device) const;
  /// The mode that runs on exactly these devices (ascending).
  [[nodiscard]] std::optional<ModeIndex> mode_on(TaskId task, std::span<const DeviceId> devices) const;
  /// Shortest duration over all modes.
  [[nodiscard]] Duration shortest(TaskId task) const;

  // Precedence. Each list is ascending and without repeats.
  /// Values that the task consumes / produces.
  [[nodiscard]] std::span<const ValueId> inputs(TaskId task) const;
  [[nodiscard]] std::span<const ValueId> outputs(TaskId task) const;
  /// Tasks that must end before this one starts although no data flows.
  [[nodiscard]] std::span<const TaskId> control_predecessors(TaskId task) const;
  /// All tasks that must end before this one starts (control and data), and the inverse.
  [[nodiscard]] std::span<const TaskId> predecessors(TaskId task) const;
  [[nodiscard]] std::span<const TaskId> successors(TaskId task) const;

  // Values: one tensor of one microbatch (or replica, if an optimizer operator makes it).
  [[nodiscard]] std::size_t value_count() const;
  [[nodiscard]] TensorId tensor_of(ValueId value) const;
  [[nodiscard]] std::uint32_t copy_of(ValueId value) const;
  [[nodiscard]] ValueId value_of(TensorId tensor, std::uint32_t copy) const;
  [[nodiscard]] Bytes size(ValueId value) const;
  [[nodiscard]] std::optional<TaskId> producer(ValueId value) const;
  [[nodiscard]] std::span<const TaskId> consumers(ValueId value) const;

  // Groups: tasks that must share their devices (colocation, shared parameters within a replica).
  // Every task is in exactly one group, possibly alone.
  [[nodiscard]] std::size_t group_count() const;
  [[nodiscard]] GroupId group_of(TaskId task) const;
  [[nodiscard]] std::span<const TaskId> tasks_of(GroupId group) const;
  /// Parameters that live where the group runs; ascending.
  [[nodiscard]] std::span<const ParameterId> parameters_of(GroupId group) const;
  /// The ways to place the group: sets of devices on which every task of it has a mode. At least one; single devices
  /// first, then gangs, both ascending. Groups with the same options share one array: its address tells them apart.
  [[nodiscard]] std::span<const Option> options(GroupId group) const;
  /// The devices of the options that are no gangs; ascending.
  [[nodiscard]] std::span<const DeviceId> devices_of(GroupId group) const;
  /// Groups that must not share a device with this one; ascending.
  [[nodiscard]] std::span<const GroupId> apart_from(GroupId group) const;

  // Memory and transfers.
  [[nodiscard]] std::optional<Bytes> capacity(DeviceId device) const;
  /// Weights, gradients and optimizer state of one copy of the parameter.
  [[nodiscard]] Bytes persistent_bytes(ParameterId parameter) const;
  /// Time for a value from one device to another; 0 on the same device; nothing without a route.
  [[nodiscard]] std::optional<Duration> transfer_time(ValueId value, DeviceId from, DeviceId to) const;
  /// What a transfer between two devices keeps busy, as the contention of the settings says.
  [[nodiscard]] std::vector<Cluster::Channel> channels(DeviceId from, DeviceId to) const;

 private:
  std::shared_ptr<const detail::ProblemData> data_;
};

}  // namespace opweave
