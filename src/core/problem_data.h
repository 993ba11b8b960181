/// What a Problem holds: flat arrays, filled once by three steps in this order.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <vector>

#include "opweave/problem.h"

namespace opweave::detail {

inline constexpr std::uint32_t kNoIndex = std::numeric_limits<std::uint32_t>::max();

/// Lists of different lengths in one array.
template <class T>
struct Lists {
  std::vector<std::size_t> offsets{0};
  std::vector<T> items;

  [[nodiscard]] std::size_t size() const { return offsets.size() - 1; }
  [[nodiscard]] std::span<const T> operator[](std::size_t i) const {
    return {items.data() + offsets[i], offsets[i + 1] - offsets[i]};
  }
  void close_list() { offsets.push_back(items.size()); }
};

/// The modes of one operator in one replica; all its microbatches share them. Either the same
/// operator on any device of a set (`device_set`, durations by type of device), or explicit modes:
/// single devices first, ascending, then gangs.
struct ModeTable {
  std::uint32_t device_set = kNoIndex;
  std::size_t first_duration = 0;  ///< in ProblemData::durations, one per type slot
  std::size_t first_mode = 0;      ///< in ProblemData::explicit_modes
  std::uint32_t single_count = 0;
  std::uint32_t count = 0;
  Bytes workspace;
  Duration shortest;
};

struct ExplicitMode {
  std::size_t first_device = 0;  ///< in ProblemData::mode_devices
  std::uint32_t device_count = 0;
  Duration duration;
  Bytes workspace;
};

/// Its tasks may have to share their devices with tasks of other operators, or of other microbatches.
[[nodiscard]] inline bool is_bound_to_others(const Operator& op) {
  return !op.colocation.empty() || !op.parameters.empty();
}

struct ProblemData {
  ComputationGraph graph;
  Cluster cluster;
  ProblemSettings settings;

  // Modes: per operator and replica, at index operator * replicas + replica.
  std::vector<ModeTable> tables;
  std::vector<std::uint32_t> operator_streams;
  std::vector<std::vector<DeviceId>> device_sets;
  std::vector<std::uint32_t> type_slot;  ///< per device: index of its type, or the number of types for none
  std::vector<Duration> durations;
  std::vector<ExplicitMode> explicit_modes;
  std::vector<DeviceId> mode_devices;

  // Tasks and values.
  std::vector<std::uint32_t> operator_rank;  ///< position among the operators that are repeated alike
  std::size_t repeated_operators = 0;        ///< operators that run per microbatch
  std::size_t optimizer_operators = 0;       ///< operators that run per replica
  std::vector<Task> tasks;
  std::vector<std::uint32_t> tensor_rank;
  std::vector<bool> tensor_per_replica;  ///< made by an optimizer operator
  std::size_t repeated_tensors = 0;
  std::size_t optimizer_tensors = 0;
  std::vector<TensorId> value_tensor;
  std::vector<std::uint32_t> value_copy;
  std::vector<std::uint32_t> value_producer;  ///< task, or kNoIndex
  Lists<ValueId> inputs;
  Lists<ValueId> outputs;
  Lists<TaskId> control_predecessors;
  Lists<TaskId> predecessors;
  Lists<TaskId> successors;
  Lists<TaskId> consumers;

  // Groups.
  std::vector<GroupId> group_of;
  Lists<TaskId> group_tasks;
  Lists<ParameterId> group_parameters;
  std::vector<std::uint32_t> group_option_list;  ///< into the next two: many groups share one list
  std::vector<std::vector<DeviceId>> common_devices;
  std::vector<std::vector<Option>> option_lists;  ///< each of common_devices alone, then gangs
  Lists<GroupId> group_apart;
  std::vector<Bytes> persistent;  ///< per parameter

  [[nodiscard]] const ModeTable& table(TaskId task) const {
    const Task& t = tasks[task.index()];
    return tables[t.op.index() * settings.training.replicas + t.replica];
  }
};

/// Resolves device and stream names and computes durations.
void build_modes(ProblemData& data);
/// Repeats operators and tensors over microbatches and replicas, with their edges.
void expand(ProblemData& data);
/// Joins tasks that must share devices.
void build_groups(ProblemData& data);
/// Lists what all tasks of each group have in common. A step of build_groups: members are known then.
void build_options(ProblemData& data);

}  // namespace opweave::detail
