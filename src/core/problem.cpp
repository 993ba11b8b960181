#include "opweave/problem.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/problem_data.h"
#include "opweave/error.h"

namespace opweave {
namespace {

/// Sums over a plan stay far from 63 bits, so that no later step has to look out for overflow.
void require_no_overflow(const detail::ProblemData& data) {
  constexpr double kLimit = 1e18;  // 31 years, an exabyte: sums, sentinels and offsets fit in 63 bits
  std::vector<double> longest;     // by table
  for (const detail::ModeTable& table : data.tables) {
    double& most = longest.emplace_back(0);
    if (table.device_set != detail::kNoIndex) {
      for (std::size_t slot = 0; slot <= data.cluster.types().size(); ++slot) {
        most = std::max(most, static_cast<double>(data.durations[table.first_duration + slot].value()));
      }
    } else {
      for (std::uint32_t m = 0; m < table.count; ++m) {
        most = std::max(most, static_cast<double>(data.explicit_modes[table.first_mode + m].duration.value()));
      }
    }
  }
  double time = 0;
  for (const Task& task : data.tasks) {
    time += longest[task.op.index() * data.settings.training.replicas + task.replica];
  }
  double bytes = 0;
  for (const TensorId tensor : data.value_tensor) bytes += static_cast<double>(data.graph.at(tensor).size.value());
  for (const Bytes persistent : data.persistent) bytes += static_cast<double>(persistent.value());
  for (const Operator& op : data.graph.operators()) bytes += static_cast<double>(op.workspace.value());
  if (time > kLimit) throw InputError(fmt::format("total work is {:.3g} ns, expected at most {:.0g}", time, kLimit));
  if (bytes * static_cast<double>(data.cluster.device_count()) > kLimit) {
    throw InputError(fmt::format("all tensors and parameters on every device are {:.3g} bytes, expected at most {:.0g}",
                                 bytes * static_cast<double>(data.cluster.device_count()), kLimit));
  }
}

}  // namespace

ProblemSettings default_settings(const ComputationGraph& graph, const Cluster& cluster) {
  return {graph.training(), cluster.contention(), std::nullopt, Blocks::kNone, {}};
}

ProblemSettings overridden(ProblemSettings settings, const SettingsOverride& by) {
  if (by.microbatches || by.replicas) settings.training.replica_of_microbatch.clear();
  if (by.microbatches) settings.training.microbatches = *by.microbatches;
  if (by.replicas) settings.training.replicas = *by.replicas;
  if (by.contention) settings.contention = *by.contention;
  if (by.memory_limit) settings.memory_limit = by.memory_limit;
  if (by.blocks) settings.blocks = *by.blocks;
  if (by.memory_modes) settings.memory_modes = *by.memory_modes;
  return settings;
}

Problem Problem::create(ComputationGraph graph, Cluster cluster, ProblemSettings settings) {
  validate(settings.training);
  auto data = std::make_shared<detail::ProblemData>();
  data->graph = std::move(graph);
  data->cluster = std::move(cluster);
  data->settings = std::move(settings);
  detail::build_modes(*data);
  detail::expand(*data);
  detail::build_groups(*data);
  require_no_overflow(*data);
  Problem problem;
  problem.data_ = std::move(data);
  return problem;
}

Problem Problem::create(ComputationGraph graph, Cluster cluster) {
  ProblemSettings settings = default_settings(graph, cluster);
  return create(std::move(graph), std::move(cluster), std::move(settings));
}

const ComputationGraph& Problem::graph() const { return data_->graph; }
const Cluster& Problem::cluster() const { return data_->cluster; }
const ProblemSettings& Problem::settings() const { return data_->settings; }

std::size_t Problem::task_count() const { return data_->tasks.size(); }
const Task& Problem::task(TaskId task) const { return data_->tasks[task.index()]; }
const Operator& Problem::op(TaskId task) const { return data_->graph.at(data_->tasks[task.index()].op); }

std::string Problem::task_name(TaskId task) const {
  const Training& training = data_->settings.training;
  if (training.microbatches == 1 && training.replicas == 1) return op(task).name;
  return fmt::format("{}#{}", op(task).name, data_->tasks[task.index()].copy);
}

TaskId Problem::task_of(OperatorId op, std::uint32_t copy) const {
  const std::size_t rank = data_->operator_rank[op.index()];
  if (data_->graph.at(op).phase != Phase::kOptimizer) return TaskId(copy * data_->repeated_operators + rank);
  return TaskId(data_->settings.training.microbatches * data_->repeated_operators + copy * data_->optimizer_operators +
                rank);
}

std::uint32_t Problem::streams(TaskId task) const {
  return data_->operator_streams[data_->tasks[task.index()].op.index()];
}

ModeIndex Problem::mode_count(TaskId task) const { return data_->table(task).count; }

Mode Problem::mode(TaskId task, ModeIndex index) const {
  const detail::ModeTable& table = data_->table(task);
  if (table.device_set != detail::kNoIndex) {
    const std::vector<DeviceId>& set = data_->device_sets[table.device_set];
    const std::uint32_t slot = data_->type_slot[set[index].index()];
    return {std::span(set).subspan(index, 1), data_->durations[table.first_duration + slot], table.workspace};
  }
  const detail::ExplicitMode& mode = data_->explicit_modes[table.first_mode + index];
  return {std::span(data_->mode_devices).subspan(mode.first_device, mode.device_count), mode.duration, mode.workspace};
}

std::optional<ModeIndex> Problem::mode_on(TaskId task, DeviceId device) const {
  const detail::ModeTable& table = data_->table(task);
  if (table.device_set != detail::kNoIndex) {
    const std::vector<DeviceId>& set = data_->device_sets[table.device_set];
    const auto found = std::lower_bound(set.begin(), set.end(), device);
    if (found == set.end() || *found != device) return std::nullopt;
    return static_cast<ModeIndex>(found - set.begin());
  }
  for (ModeIndex index = 0; index < table.single_count; ++index) {
    if (data_->mode_devices[data_->explicit_modes[table.first_mode + index].first_device] == device) return index;
  }
  return std::nullopt;
}

std::optional<ModeIndex> Problem::mode_on(TaskId task, std::span<const DeviceId> devices) const {
  if (devices.size() == 1) return mode_on(task, devices.front());
  for (ModeIndex index = 0; index < mode_count(task); ++index) {
    if (std::ranges::equal(mode(task, index).devices, devices)) return index;
  }
  return std::nullopt;
}

Duration Problem::shortest(TaskId task) const { return data_->table(task).shortest; }

std::span<const ValueId> Problem::inputs(TaskId task) const { return data_->inputs[task.index()]; }
std::span<const ValueId> Problem::outputs(TaskId task) const { return data_->outputs[task.index()]; }
std::span<const TaskId> Problem::control_predecessors(TaskId task) const {
  return data_->control_predecessors[task.index()];
}
std::span<const TaskId> Problem::predecessors(TaskId task) const { return data_->predecessors[task.index()]; }
std::span<const TaskId> Problem::successors(TaskId task) const { return data_->successors[task.index()]; }

std::size_t Problem::value_count() const { return data_->value_tensor.size(); }
TensorId Problem::tensor_of(ValueId value) const { return data_->value_tensor[value.index()]; }
std::uint32_t Problem::copy_of(ValueId value) const { return data_->value_copy[value.index()]; }

ValueId Problem::value_of(TensorId tensor, std::uint32_t copy) const {
  const std::size_t rank = data_->tensor_rank[tensor.index()];
  if (!data_->tensor_per_replica[tensor.index()]) return ValueId(copy * data_->repeated_tensors + rank);
  return ValueId(data_->settings.training.microbatches * data_->repeated_tensors + copy * data_->optimizer_tensors +
                 rank);
}

Bytes Problem::size(ValueId value) const { return data_->graph.at(tensor_of(value)).size; }

std::optional<TaskId> Problem::producer(ValueId value) const {
  const std::uint32_t task = data_->value_producer[value.index()];
  return task == detail::kNoIndex ? std::nullopt : std::optional(TaskId(task));
}

std::span<const TaskId> Problem::consumers(ValueId value) const { return data_->consumers[value.index()]; }

std::size_t Problem::group_count() const { return data_->group_tasks.size(); }
GroupId Problem::group_of(TaskId task) const { return data_->group_of[task.index()]; }
std::span<const TaskId> Problem::tasks_of(GroupId group) const { return data_->group_tasks[group.index()]; }
std::span<const ParameterId> Problem::parameters_of(GroupId group) const {
  return data_->group_parameters[group.index()];
}
std::span<const Option> Problem::options(GroupId group) const {
  return data_->option_lists[data_->group_option_list[group.index()]];
}
std::span<const DeviceId> Problem::devices_of(GroupId group) const {
  return data_->common_devices[data_->group_option_list[group.index()]];
}
std::span<const GroupId> Problem::apart_from(GroupId group) const { return data_->group_apart[group.index()]; }

std::optional<Bytes> Problem::capacity(DeviceId device) const {
  if (data_->settings.memory_limit) return data_->settings.memory_limit;
  return data_->cluster.at(device).memory;
}

Bytes Problem::persistent_bytes(ParameterId parameter) const { return data_->persistent[parameter.index()]; }

std::optional<Duration> Problem::transfer_time(ValueId value, DeviceId from, DeviceId to) const {
  if (from == to) return Duration();
  return data_->cluster.transfer_time(size(value), from, to);
}

std::vector<Cluster::Channel> Problem::channels(DeviceId from, DeviceId to) const {
  return data_->cluster.channels(from, to, data_->settings.contention);
}

}  // namespace opweave
