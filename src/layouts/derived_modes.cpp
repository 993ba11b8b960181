// Plans of a selection whose values have memory modes.
#include <fmt/format.h>

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "opweave/error.h"
#include "opweave/layouts.h"
#include "opweave/memory_modes.h"

namespace opweave {

Schedule DerivedProblem::released(const ProblemWithMovements& movements, Schedule schedule) const {
  const Problem& problem = data_->problem;
  const Problem& full = movements.problem();
  std::vector<std::optional<TaskId>> first(problem.task_count());  // of `full`, by task: it
  std::vector<std::optional<TaskId>> again(problem.task_count());  // and its repetition
  std::vector<TaskId> helpers;
  for (std::size_t t = 0; t < full.task_count(); ++t) {
    const ProblemWithMovements::Origin origin = movements.origin(TaskId(t));
    if (origin.is_movement && origin.kind != MovementKind::kRecompute) continue;
    (origin.is_movement ? again : first)[origin.task.index()] = TaskId(t);
    if (helper_of(problem.task(origin.task).op)) helpers.emplace_back(t);
  }
  for (const TaskId helper : helpers) {
    const ProblemWithMovements::Origin origin = movements.origin(helper);
    const Task& own = problem.task(origin.task);
    const MovementHelper known = *helper_of(own.op);
    const TaskId moved = problem.task_of(operator_of(known.movement), own.copy);
    const TaskId movement = *(origin.is_movement ? again : first)[moved.index()];
    schedule.tasks[helper.index()].start =
        known.is_first ? schedule.tasks[movement.index()].start : schedule.end(full, movement);
  }
  return schedule;
}

LayoutPlan DerivedProblem::plan(const ProblemWithMovements& movements, const Schedule& schedule,
                                std::vector<LowerBound> bounds, Provenance provenance) const {
  return translated(movements.plan(released(movements, schedule), std::move(bounds), std::move(provenance)));
}

/// Modes, what runs again and copies of values in their forms, as those of the tensors that stand for them.
void DerivedProblem::place_forms(const LayoutPlan& plan, Plan& result) const {
  const ComputationGraph& graph = data_->problem.graph();
  std::map<ValueForm, TensorId> tensor_of;
  for (std::size_t t = 0; t < graph.tensors().size(); ++t) {
    if (graph.tensors()[t].producer) tensor_of.emplace(form_of(TensorId(t), 0), TensorId(t));
  }
  const auto tensor = [&](ValueForm form) {
    form.copy = 0;
    const auto found = tensor_of.find(form);
    if (found != tensor_of.end()) return found->second;
    const ComputationGraph& original = data_->original.graph().graph;
    const bool is_tensor = form.moved == Moved::kTensor;
    throw InputError(fmt::format(
        "plan has a memory mode or a copy of {} \"{}\" in {}, in which it never is", is_tensor ? "tensor" : "parameter",
        is_tensor ? original.at(form.tensor).name : original.at(form.parameter).name, to_string(form.layout)));
  };
  for (const FormMode& mode : plan.modes) {
    require_copy(*graph.at(tensor(mode.value)).producer, mode.value.copy);
    result.modes.push_back({tensor(mode.value), mode.value.copy, mode.mode});
  }
  for (const FormReturn& back : plan.returns) {
    const bool is_copy = back.kind != MovementKind::kRecompute;
    const TensorId copied = is_copy ? tensor(back.value) : TensorId();
    const OperatorId op = is_copy ? *graph.at(copied).producer : back.op;
    require_copy(op, back.value.copy);
    result.movements.push_back({back.kind, op, copied, back.value.copy, back.devices, back.start, back.end});
  }
}

OrdinaryPlan DerivedProblem::with_movements(const LayoutPlan& plan) const {
  const ComputationGraph& graph = data_->problem.graph();
  Plan result = plan.plan;
  result.settings = data_->problem.settings();
  std::vector<std::vector<std::size_t>> helpers_of(data_->movements.size());
  for (std::size_t i = 0; i < data_->helpers.size(); ++i) helpers_of[data_->helpers[i].movement].push_back(i);
  const auto place = [&](OperatorId op, const LayoutMovement& movement, Duration start, Duration end) {
    std::vector<DeviceId> devices;
    for (const std::string& name : graph.at(op).modes.front().devices) {
      devices.push_back(*data_->problem.cluster().find_device(name));
    }
    if (movement.again) {
      result.movements.push_back(
          {MovementKind::kRecompute, op, TensorId(), movement.key.copy, std::move(devices), start, end});
    } else {
      result.tasks.push_back({op, movement.key.copy, std::move(devices), start, end});
    }
  };
  const MovementNumbers numbers = movement_numbers();
  for (const LayoutMovement& movement : plan.movements) {
    const OperatorId op = operator_of(numbers, movement);
    require_copy(op, movement.key.copy);
    place(op, movement, movement.start, movement.end);
    for (const std::size_t i : helpers_of[op.index() - original_operators()]) {
      const Duration when = data_->helpers[i].is_first ? movement.start : movement.end;
      place(OperatorId(original_operators() + data_->movements.size() + i), movement, when, when);
    }
  }
  place_forms(plan, result);
  const std::vector<std::optional<TensorId>> sent = sent_tensors();
  for (PlannedTransfer& transfer : result.transfers) {
    const std::optional<TensorId> tensor = sent[transfer.tensor.index()];
    if (!tensor) {
      throw InputError(fmt::format("plan sends tensor \"{}\", which its readers do not ask for",
                                   data_->original.graph().graph.at(transfer.tensor).name));
    }
    transfer.tensor = *tensor;
  }
  return opweave::with_movements(data_->problem, result);
}

}  // namespace opweave
