#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "core/units.h"
#include "memory_modes/derive.h"
#include "memory_modes/reductions.h"
#include "memory_modes/unfold.h"
#include "opweave/error.h"
#include "opweave/memory_modes.h"

namespace opweave {

namespace detail {

struct MovementData {
  Problem original;
  MemoryChoice choice;
  Problem problem;
  bool is_unfolded = false;
  std::size_t old_operators = 0;  ///< operators with smaller numbers are of the graph that was derived from
  GraphWithMovements derived;     ///< its graph is in problem
  /// By added operator: its task and value of copy 0, or of the one copy that there is.
  std::vector<ProblemWithMovements::Origin> movements;
  std::vector<std::uint32_t> old_tensor;  ///< by tensor: what it came back of, or itself

  /// Numbers of a task's operator and a value's tensor in the graph that was derived from, and which copy of them.
  [[nodiscard]] std::uint32_t old_operator(TaskId task) const {
    return static_cast<std::uint32_t>(is_unfolded ? task.index() : original.task(task).op.index());
  }
  [[nodiscard]] std::uint32_t old_tensor_of(ValueId value) const {
    return static_cast<std::uint32_t>(is_unfolded ? value.index() : original.tensor_of(value).index());
  }
  [[nodiscard]] TaskId task_of(std::uint32_t op, std::uint32_t copy) const {
    return problem.task_of(OperatorId(op), is_unfolded ? 0 : copy);
  }
  [[nodiscard]] ValueId value_of(std::uint32_t tensor, std::uint32_t copy) const {
    return problem.value_of(TensorId(tensor), is_unfolded ? 0 : copy);
  }
  /// The task that reduces the gradients of a parameter of the original problem.
  [[nodiscard]] TaskId reduction_of(ParameterId parameter) const {
    for (const std::uint32_t op : derived.reductions) {
      if (movements[op - old_operators].parameter == parameter) return problem.task_of(OperatorId(op), 0);
    }
    throw InputError(fmt::format("plan reduces gradients of parameter \"{}\", which no setting asks for",
                                 original.graph().at(parameter).name));
  }
  [[nodiscard]] TaskId original_task(std::uint32_t old, std::uint32_t copy) const {
    return is_unfolded ? TaskId(old) : original.task_of(OperatorId(old), copy);
  }
  [[nodiscard]] ValueId original_value(std::uint32_t old, std::uint32_t copy) const {
    return is_unfolded ? ValueId(old) : original.value_of(TensorId(old), copy);
  }
};

}  // namespace detail

namespace {

using detail::MovementData;

void require_allowed(const Problem& original, const MemoryChoice& choice) {
  const ComputationGraph& graph = original.graph();
  for (std::size_t v = 0; v < choice.size(); ++v) {
    const TensorId tensor = original.tensor_of(ValueId(v));
    if (graph.memory_modes(tensor, original.settings().memory_modes).allows(choice[v])) continue;
    throw InputError(fmt::format("tensor \"{}\" has mode \"{}\", which it may not have", graph.at(tensor).name,
                                 to_string(choice[v])));
  }
}

/// The mode of each tensor, where all its copies have one and its operators say enough of where they run.
std::optional<std::vector<MemoryMode>> mode_per_tensor(const Problem& original, const MemoryChoice& choice) {
  const ComputationGraph& graph = original.graph();
  std::vector<std::optional<MemoryMode>> modes(graph.tensors().size());
  for (std::size_t v = 0; v < choice.size(); ++v) {
    std::optional<MemoryMode>& mode = modes[original.tensor_of(ValueId(v)).index()];
    if (mode && *mode != choice[v]) return std::nullopt;
    mode = choice[v];
  }
  const std::vector<std::uint32_t> unit_of = units_of(graph);
  std::vector<bool> is_moved(graph.operators().size(), false);  // by unit
  std::vector<MemoryMode> result;
  for (std::size_t t = 0; t < modes.size(); ++t) {
    result.push_back(modes[t].value_or(MemoryMode::kKeep));
    if (result.back() != MemoryMode::kKeep) is_moved[unit_of[graph.tensors()[t].producer->index()]] = true;
  }
  const Training& training = original.settings().training;
  if (training.microbatches == 1 && training.replicas == 1) return result;
  for (std::size_t i = 0; i < unit_of.size(); ++i) {
    if (is_moved[unit_of[i]] && !ties_itself(graph.operators()[i])) return std::nullopt;
  }
  return result;
}

ProblemSettings ordinary(ProblemSettings settings) {
  settings.memory_modes = {};
  settings.training.reduction_stream.clear();
  return settings;
}

/// The reductions as operators of the unfolded graph.
std::vector<GraphReduction> as_operators(const Problem& original, const std::vector<Reduction>& reductions) {
  std::vector<GraphReduction> result;
  for (const Reduction& reduction : reductions) {
    GraphReduction& one = result.emplace_back();
    one.op.name = fmt::format("gradients of parameter {}, reduced", reduction.parameter.index());
    const std::string& name = original.graph().at(reduction.parameter).name;
    if (!name.empty()) one.op.name = fmt::format("gradients of {} reduced", name);
    one.op.kind = "all_reduce";
    one.op.phase = Phase::kWeightGradient;
    one.op.streams = {original.settings().training.reduction_stream};
    std::vector<std::string> devices;
    for (const DeviceId device : reduction.devices) devices.push_back(original.cluster().at(device).name);
    one.op.modes = {{std::move(devices), reduction.duration, Bytes()}};
    for (const TaskId task : reduction.updates) one.op.after.emplace_back(task.index());
    for (const TaskId task : reduction.optimizers) one.optimizers.emplace_back(task.index());
  }
  return result;
}

}  // namespace

ProblemWithMovements ProblemWithMovements::create(const Problem& original, MemoryChoice choice, Return when) {
  require_allowed(original, choice);
  auto data = std::make_shared<MovementData>();
  data->original = original;
  const Cluster cluster = with_copy_streams(original.cluster());
  ProblemSettings settings = ordinary(original.settings());
  const std::vector<Reduction> reductions = reductions_of(original);
  const auto modes = reductions.empty() ? mode_per_tensor(original, choice) : std::nullopt;
  if (modes) {
    data->derived = derive(original.graph(), cluster, *modes, when);
    data->old_operators = original.graph().operators().size();
  } else {
    const ComputationGraph graph = unfold(original);
    data->is_unfolded = true;
    settings.training = graph.training();
    data->derived = derive(graph, cluster, choice, when, as_operators(original, reductions));
    data->old_operators = graph.operators().size();
  }
  data->choice = std::move(choice);
  data->problem = Problem::create(std::move(data->derived.graph), cluster, std::move(settings));

  const GraphWithMovements& derived = data->derived;
  data->movements.resize(data->problem.graph().operators().size() - data->old_operators);
  const auto movement = [&](std::uint32_t op) -> Origin& { return data->movements[op - data->old_operators]; };
  for (std::uint32_t i = 0; i < derived.again.size(); ++i) {
    if (derived.again[i] == GraphWithMovements::kNone) continue;
    movement(derived.again[i]) = {true, MovementKind::kRecompute, data->original_task(i, 0), ValueId()};
  }
  for (std::size_t t = 0; t < data->problem.graph().tensors().size(); ++t) {
    data->old_tensor.push_back(static_cast<std::uint32_t>(t));
  }
  for (std::uint32_t t = 0; t < derived.come_back.size(); ++t) {
    if (derived.come_back[t] != GraphWithMovements::kNone) data->old_tensor[derived.come_back[t]] = t;
    if (derived.copy_out[t] == GraphWithMovements::kNone) continue;
    const ValueId value = data->original_value(t, 0);
    const TaskId maker = *original.producer(value);
    movement(derived.copy_out[t]) = {true, MovementKind::kCopyOut, maker, value};
    movement(derived.copy_in[t]) = {true, MovementKind::kCopyIn, maker, value};
  }
  for (std::size_t i = 0; i < reductions.size(); ++i) {
    movement(derived.reductions[i]) = {true, MovementKind::kAllReduce, reductions[i].updates.back(), ValueId(),
                                       reductions[i].parameter};
  }
  ProblemWithMovements result;
  result.data_ = std::move(data);
  return result;
}

const Problem& ProblemWithMovements::original() const { return data_->original; }
const MemoryChoice& ProblemWithMovements::choice() const { return data_->choice; }
const Problem& ProblemWithMovements::problem() const { return data_->problem; }

ProblemWithMovements::Origin ProblemWithMovements::origin(TaskId task) const {
  const Task& one = data_->problem.task(task);
  const std::size_t op = one.op.index();
  if (op < data_->old_operators) {
    return {false, MovementKind::kRecompute, data_->original_task(static_cast<std::uint32_t>(op), one.copy), ValueId()};
  }
  Origin origin = data_->movements[op - data_->old_operators];
  if (data_->is_unfolded) return origin;
  const Problem& original = data_->original;
  origin.task = original.task_of(original.task(origin.task).op, one.copy);
  if (is_copy(origin.kind)) {
    origin.value = original.value_of(original.tensor_of(origin.value), one.copy);
  }
  return origin;
}

std::vector<Bytes> ProblemWithMovements::host_peaks(const Schedule& schedule) const {
  struct Change {
    DeviceId device;
    Duration time;
    std::int64_t bytes;
    auto operator<=>(const Change&) const = default;
  };
  const Problem& problem = data_->problem;
  std::vector<Change> changes;
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const Origin from = origin(TaskId(t));
    if (!from.is_movement || !is_copy(from.kind)) continue;
    const bool is_out = from.kind == MovementKind::kCopyOut;
    const std::int64_t bytes = data_->original.size(from.value).value();
    const Duration time = is_out ? schedule.tasks[t].start : schedule.end(problem, TaskId(t));
    for (const DeviceId device : problem.mode(TaskId(t), schedule.tasks[t].mode).devices) {
      changes.push_back({device, time, is_out ? bytes : -bytes});
    }
  }
  std::ranges::sort(changes);
  std::vector<Bytes> peaks(problem.cluster().device_count());
  std::vector<Bytes> levels(peaks.size());
  for (const Change& change : changes) {
    Bytes& level = levels[change.device.index()];
    level += Bytes(change.bytes);
    peaks[change.device.index()] = std::max(peaks[change.device.index()], level);
  }
  return peaks;
}

Plan ProblemWithMovements::plan(const Schedule& schedule, std::vector<LowerBound> bounds, Provenance provenance) const {
  const Problem& original = data_->original;
  Plan plan = make_plan(data_->problem, schedule, std::move(bounds), std::move(provenance));
  plan.settings = original.settings();
  plan.tasks.clear();
  plan.transfers.clear();
  Schedule first;  // what the original problem would run
  first.tasks.resize(original.task_count());
  for (std::size_t t = 0; t < data_->problem.task_count(); ++t) {
    const Origin from = origin(TaskId(t));
    const Task& task = original.task(from.task);
    const auto devices = data_->problem.mode(TaskId(t), schedule.tasks[t].mode).devices;
    const std::vector<DeviceId> list(devices.begin(), devices.end());
    const Duration start = schedule.tasks[t].start;
    const Duration end = schedule.end(data_->problem, TaskId(t));
    if (!from.is_movement) {
      plan.tasks.push_back({task.op, task.copy, list, start, end});
      first.tasks[from.task.index()] = {original.mode_on(from.task, devices).value(), start};
      continue;
    }
    if (from.kind == MovementKind::kAllReduce) {
      plan.movements.push_back({from.kind, OperatorId(), TensorId(), 0, list, start, end, from.parameter});
      continue;
    }
    const TensorId tensor = is_copy(from.kind) ? original.tensor_of(from.value) : TensorId();
    plan.movements.push_back({from.kind, task.op, tensor, task.copy, list, start, end, ParameterId()});
    if (from.kind == MovementKind::kRecompute) plan.statistics.recomputed += end - start;
    if (from.kind == MovementKind::kCopyOut) {
      plan.statistics.bytes_copied_out += Bytes(original.size(from.value).value() * std::ssize(list));
    }
  }
  for (const Transfer& transfer : schedule.transfers) {
    const auto tensor = static_cast<std::uint32_t>(data_->problem.tensor_of(transfer.value).index());
    const ValueId value = data_->original_value(data_->old_tensor[tensor], data_->problem.copy_of(transfer.value));
    plan.transfers.push_back({original.tensor_of(value), original.copy_of(value), transfer.source, transfer.destination,
                              transfer.start, transfer.end, data_->old_tensor[tensor] != tensor});
  }
  for (std::size_t v = 0; v < data_->choice.size(); ++v) {
    if (data_->choice[v] == MemoryMode::kKeep) continue;
    plan.modes.push_back({original.tensor_of(ValueId(v)), original.copy_of(ValueId(v)), data_->choice[v]});
  }
  std::ranges::sort(plan.tasks, {}, [](const PlannedTask& a) { return std::tuple(a.start, a.op, a.copy); });
  std::ranges::sort(plan.transfers, {}, [](const PlannedTransfer& a) {
    return std::tuple(a.start, a.tensor, a.copy, a.destination, a.again);
  });
  std::ranges::sort(plan.modes, {}, [](const PlannedMode& a) { return std::pair(a.tensor, a.copy); });
  std::ranges::sort(plan.movements, {}, [](const PlannedMovement& a) {
    return std::tuple(a.start, a.kind, a.op, a.tensor, a.copy, a.parameter);
  });

  // Where microbatches and replicas became operators and parameters of their own, figures that count by them differ.
  PlanStatistics& figures = plan.statistics;
  if (data_->is_unfolded) {
    const std::int64_t microbatches = original.settings().training.microbatches;
    figures.period = Duration((figures.period.value() + microbatches - 1) / microbatches);
    std::vector<std::uint32_t> homes(original.graph().parameters().size());
    for (const std::vector<ParameterId>& held : parameters_on_devices(original, first)) {
      for (const ParameterId parameter : held) ++homes[parameter.index()];
    }
    figures.parameter_copies = homes.empty() ? 0 : *std::ranges::max_element(homes);
  }
  const std::vector<Bytes> peaks = host_peaks(schedule);
  for (std::size_t d = 0; d < peaks.size(); ++d) figures.devices[d].host_peak = peaks[d];
  return plan;
}

Schedule ProblemWithMovements::schedule(const Plan& plan) const {
  const Problem& original = data_->original;
  const Problem& problem = data_->problem;
  Schedule schedule;
  schedule.tasks.resize(problem.task_count());
  std::vector<bool> seen(problem.task_count(), false);
  const auto place = [&](TaskId task, std::span<const DeviceId> devices, Duration start) {
    const std::optional<ModeIndex> mode = problem.mode_on(task, devices);
    if (!mode || seen[task.index()]) {
      throw InputError(fmt::format("plan runs \"{}\" {}", problem.task_name(task),
                                   mode ? "twice" : "on devices that are no mode of it"));
    }
    seen[task.index()] = true;
    schedule.tasks[task.index()] = {*mode, start};
  };
  const Training& training = original.settings().training;
  const auto existing_task = [&](OperatorId op, std::uint32_t copy) {
    const bool per_replica = original.graph().at(op).phase == Phase::kOptimizer;
    if (copy < (per_replica ? training.replicas : training.microbatches)) return original.task_of(op, copy);
    throw InputError(
        fmt::format("plan has copy {} of operator \"{}\", which does not exist", copy, original.graph().at(op).name));
  };
  for (const PlannedTask& planned : plan.tasks) {
    const TaskId task = existing_task(planned.op, planned.copy);
    place(data_->task_of(data_->old_operator(task), planned.copy), planned.devices, planned.start);
  }
  for (const PlannedMovement& planned : plan.movements) {
    if (planned.kind == MovementKind::kAllReduce) {
      place(data_->reduction_of(planned.parameter), planned.devices, planned.start);
      continue;
    }
    const std::uint32_t maker = data_->old_operator(existing_task(planned.op, planned.copy));
    std::uint32_t op = data_->derived.again[maker];
    if (planned.kind != MovementKind::kRecompute) {
      const std::uint32_t tensor = data_->old_tensor_of(original.value_of(planned.tensor, planned.copy));
      op = (planned.kind == MovementKind::kCopyOut ? data_->derived.copy_out : data_->derived.copy_in)[tensor];
    }
    if (op == GraphWithMovements::kNone) {
      throw InputError(fmt::format("plan has a movement ({} of operator \"{}\", copy {}) that no memory mode asks for",
                                   to_string(planned.kind), original.graph().at(planned.op).name, planned.copy));
    }
    place(data_->task_of(op, planned.copy), planned.devices, planned.start);
  }
  const auto missing = std::ranges::find(seen, false);
  if (missing != seen.end()) {
    throw InputError(
        fmt::format("plan lacks \"{}\"", problem.task_name(TaskId(static_cast<std::size_t>(missing - seen.begin())))));
  }
  for (const PlannedTransfer& planned : plan.transfers) {
    const auto& producer = original.graph().at(planned.tensor).producer;
    if (producer) (void)existing_task(*producer, planned.copy);
    const std::uint32_t old = data_->old_tensor_of(original.value_of(planned.tensor, planned.copy));
    const std::uint32_t tensor = planned.again ? data_->derived.come_back[old] : old;
    if (tensor == GraphWithMovements::kNone) {
      throw InputError(
          fmt::format("plan sends tensor \"{}\" again, which stays", original.graph().at(planned.tensor).name));
    }
    schedule.transfers.push_back(
        {data_->value_of(tensor, planned.copy), planned.source, planned.destination, planned.start, planned.end});
  }
  return schedule;
}

OrdinaryPlan with_movements(const Problem& problem, const Plan& plan) {
  MemoryChoice choice(problem.value_count(), MemoryMode::kKeep);
  for (const PlannedMode& mode : plan.modes) {
    if (mode.copy >= problem.settings().training.microbatches) {
      throw InputError(fmt::format("plan gives a mode to copy {} of tensor \"{}\", which does not exist", mode.copy,
                                   problem.graph().at(mode.tensor).name));
    }
    choice[problem.value_of(mode.tensor, mode.copy).index()] = mode.mode;
  }
  ProblemWithMovements movements = ProblemWithMovements::create(problem, std::move(choice));
  Plan ordinary_plan = make_plan(movements.problem(), movements.schedule(plan), plan.bounds, plan.provenance);
  return {std::move(movements), std::move(ordinary_plan)};
}

bool has_movements(const Problem& problem) {
  return problem.settings().training.reduces_gradients() || may_choose_modes(problem);
}

bool may_choose_modes(const Problem& problem) {
  if (problem.settings().memory_modes.any()) return true;
  for (std::size_t t = 0; t < problem.graph().tensors().size(); ++t) {
    if (problem.graph().memory_modes(TensorId(t), problem.settings().memory_modes).any()) return true;
  }
  return false;
}

}  // namespace opweave
