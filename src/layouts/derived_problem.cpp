#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "layouts/derive.h"
#include "opweave/error.h"
#include "opweave/layouts.h"

namespace opweave {

DerivedProblem DerivedProblem::create(const LayoutProblem& original, LayoutSelection selection) {
  DerivedGraph derived = derive_layouts(original, selection);
  Cluster cluster = derived.helpers.empty() ? original.cluster() : with_release_stream(original.cluster());
  ProblemSettings settings = original.settings();
  settings.training = derived.graph.training();
  if (!original.chooses_modes()) settings.memory_modes = {};
  auto data = std::make_shared<Data>(
      Data{original, std::move(selection), Problem::create(std::move(derived.graph), std::move(cluster), settings),
           std::move(derived.movements), std::move(derived.tensor_of), std::move(derived.helpers)});
  DerivedProblem result;
  result.data_ = std::move(data);
  return result;
}

std::size_t DerivedProblem::original_operators() const { return data_->original.graph().graph.operators().size(); }

std::optional<std::size_t> DerivedProblem::movement_of(OperatorId op) const {
  const std::size_t first = original_operators();
  if (op.index() < first || op.index() >= first + data_->movements.size()) return std::nullopt;
  return op.index() - first;
}

std::optional<MovementHelper> DerivedProblem::helper_of(OperatorId op) const {
  const std::size_t first = original_operators() + data_->movements.size();
  return op.index() < first ? std::nullopt : std::optional(data_->helpers[op.index() - first]);
}

OperatorId DerivedProblem::operator_of(std::uint32_t movement) const {
  return OperatorId(original_operators() + movement);
}

Schedule DerivedProblem::released(Schedule schedule) const {
  const Problem& problem = data_->problem;
  for (std::size_t i = 0; i < data_->helpers.size(); ++i) {
    const OperatorId helper(original_operators() + data_->movements.size() + i);
    const OperatorId movement = operator_of(data_->helpers[i].movement);
    const bool is_once = problem.graph().at(helper).phase == Phase::kOptimizer;
    const std::uint32_t copies = is_once ? 1 : problem.settings().training.microbatches;
    for (std::uint32_t copy = 0; copy < copies; ++copy) {
      const TaskId task = problem.task_of(movement, copy);
      const bool is_first = data_->helpers[i].is_first;
      schedule.tasks[problem.task_of(helper, copy).index()] = {
          0, is_first ? schedule.tasks[task.index()].start : schedule.end(problem, task)};
    }
  }
  return schedule;
}

LayoutPlan DerivedProblem::plan(const Schedule& schedule, std::vector<LowerBound> bounds, Provenance provenance) const {
  const Problem& problem = data_->problem;
  const Schedule full = released(schedule);
  // Movements are no tasks of the plan, and helpers nothing at all.
  LayoutPlan result =
      translated(make_plan(problem, full, std::move(bounds), std::move(provenance), original_operators()));
  for (std::uint32_t number = 0; number < data_->movements.size(); ++number) {
    const OperatorId op = operator_of(number);
    const bool is_once = problem.graph().at(op).phase == Phase::kOptimizer;
    for (std::uint32_t copy = 0; copy < (is_once ? 1 : problem.settings().training.microbatches); ++copy) {
      const TaskId task = problem.task_of(op, copy);
      const Duration start = full.tasks[task.index()].start;
      result.movements.push_back(movement(number, copy, start, full.end(problem, task), false));
    }
  }
  sort_movements(result);
  return result;
}

LayoutMovement DerivedProblem::movement(std::size_t number, std::uint32_t copy, Duration start, Duration end,
                                        bool again) const {
  LayoutMovement movement = data_->movements[number];
  movement.key.copy = copy;
  movement.start = start;
  movement.end = end;
  movement.again = again;
  return movement;
}

void DerivedProblem::sort_movements(LayoutPlan& plan) {
  std::ranges::sort(plan.movements, [](const LayoutMovement& a, const LayoutMovement& b) {
    return std::tie(a.start, a.key, a.again) < std::tie(b.start, b.key, b.again);
  });
}

LayoutPlan DerivedProblem::translated(Plan plan) const {
  LayoutPlan result;
  result.plan = std::move(plan);
  result.plan.cluster_name = data_->original.cluster().name();
  result.plan.settings = data_->original.settings();
  std::vector<PlannedTask> tasks;
  for (PlannedTask& task : result.plan.tasks) {
    if (const auto number = movement_of(task.op)) {
      result.movements.push_back(movement(*number, task.copy, task.start, task.end, false));
    } else if (!helper_of(task.op)) {
      tasks.push_back(std::move(task));
    }
  }
  result.plan.tasks = std::move(tasks);
  for (const PlannedMode& mode : result.plan.modes)
    result.modes.push_back({form_of(mode.tensor, mode.copy), mode.mode});
  for (const PlannedMovement& one : result.plan.movements) {
    const bool is_copy = one.kind != MovementKind::kRecompute;
    const auto number = is_copy ? std::nullopt : movement_of(one.op);
    if (number) result.movements.push_back(movement(*number, one.copy, one.start, one.end, true));
    if (!is_copy && (number || helper_of(one.op))) continue;
    FormReturn back{one.kind, is_copy ? OperatorId() : one.op, {}, one.devices, one.start, one.end};
    back.value.copy = one.copy;
    if (is_copy) back.value = form_of(one.tensor, one.copy);
    result.returns.push_back(std::move(back));
  }
  result.plan.modes.clear();
  result.plan.movements.clear();
  for (PlannedTransfer& transfer : result.plan.transfers) transfer.tensor = data_->tensor_of[transfer.tensor.index()];
  std::ranges::sort(result.plan.transfers, {}, [](const PlannedTransfer& a) {
    return std::tuple(a.start, a.tensor, a.copy, a.destination, a.again);
  });
  sort_movements(result);
  std::ranges::sort(result.modes, {}, &FormMode::value);
  std::ranges::sort(result.returns, [](const FormReturn& a, const FormReturn& b) {
    return std::tie(a.start, a.kind, a.op, a.value) < std::tie(b.start, b.kind, b.op, b.value);
  });
  for (std::size_t i = 0; i < original_operators(); ++i) {
    result.options.push_back(data_->original.option(OperatorId(i), data_->selection).name);
  }
  return result;
}

ValueForm DerivedProblem::form_of(TensorId tensor, std::uint32_t copy) const {
  ValueForm form;
  form.copy = copy;
  const auto& maker = data_->problem.graph().at(tensor).producer;
  const auto number = maker ? movement_of(*maker) : std::nullopt;
  if (number && data_->movements[*number].key.moved != Moved::kTensor) {
    form.moved = data_->movements[*number].key.moved;
    form.parameter = data_->movements[*number].key.parameter;
    return form;
  }
  form.tensor = data_->tensor_of[tensor.index()];
  if (number) {
    form.target = data_->movements[*number].key.target;
    form.layout = data_->movements[*number].key.layout;
  }
  return form;
}

void DerivedProblem::require_copy(OperatorId op, std::uint32_t copy) const {
  const Problem& problem = data_->problem;
  const bool is_once = problem.graph().at(op).phase == Phase::kOptimizer;
  if (copy < (is_once ? 1 : problem.settings().training.microbatches)) return;
  throw InputError(fmt::format("plan has copy {} of \"{}\", which does not exist", copy, problem.graph().at(op).name));
}

DerivedProblem::MovementNumbers DerivedProblem::movement_numbers() const {
  MovementNumbers numbers;
  for (std::uint32_t i = 0; i < data_->movements.size(); ++i) numbers.emplace(data_->movements[i].key, i);
  return numbers;
}

OperatorId DerivedProblem::operator_of(const MovementNumbers& numbers, const LayoutMovement& movement) const {
  MovementKey key = movement.key;
  key.copy = 0;
  const auto found = numbers.find(key);
  if (found != numbers.end()) return operator_of(found->second);
  throw InputError(fmt::format("plan has a movement ({}) of {} that its options do not ask for",
                               to_string(movement.kind), to_string(key.moved)));
}

Schedule DerivedProblem::schedule(const LayoutPlan& plan) const {
  const Problem& problem = data_->problem;
  const ComputationGraph& graph = data_->original.graph().graph;
  if (!plan.modes.empty() || !plan.returns.empty()) throw InputError("plan has memory modes, expected none");
  Schedule schedule;
  schedule.tasks.resize(problem.task_count());
  std::vector<bool> seen(problem.task_count(), false);
  const auto place = [&](OperatorId op, std::uint32_t copy, Duration start) {
    require_copy(op, copy);
    const TaskId task = problem.task_of(op, copy);
    if (seen[task.index()]) throw InputError(fmt::format("plan runs \"{}\" twice", problem.task_name(task)));
    seen[task.index()] = true;
    schedule.tasks[task.index()] = {0, start};
  };
  for (const PlannedTask& task : plan.plan.tasks) place(task.op, task.copy, task.start);
  const MovementNumbers numbers = movement_numbers();
  for (const LayoutMovement& movement : plan.movements) {
    place(operator_of(numbers, movement), movement.key.copy, movement.start);
  }
  for (std::size_t t = 0; t < seen.size(); ++t) {
    if (seen[t] || helper_of(problem.task(TaskId(t)).op)) continue;
    throw InputError(fmt::format("plan lacks \"{}\"", problem.task_name(TaskId(t))));
  }
  schedule = released(std::move(schedule));
  const std::vector<std::optional<TensorId>> sent = sent_tensors();
  for (const PlannedTransfer& transfer : plan.plan.transfers) {
    const std::optional<TensorId> tensor = sent[transfer.tensor.index()];
    if (!tensor) {
      throw InputError(
          fmt::format("plan sends tensor \"{}\", which its readers do not ask for", graph.at(transfer.tensor).name));
    }
    schedule.transfers.push_back({problem.value_of(*tensor, transfer.copy), transfer.source, transfer.destination,
                                  transfer.start, transfer.end});
  }
  return schedule;
}

/// Of one tensor only the whole value is sent: as it was made, or as it was summed.
std::vector<std::optional<TensorId>> DerivedProblem::sent_tensors() const {
  std::vector<std::optional<TensorId>> sent(data_->original.graph().graph.tensors().size());
  for (std::size_t t = 0; t < data_->problem.graph().tensors().size(); ++t) {
    if (needs_transfers(TensorId(t))) sent[data_->tensor_of[t].index()] = TensorId(t);
  }
  return sent;
}

bool DerivedProblem::needs_transfers(TensorId id) const {
  const ComputationGraph& graph = data_->problem.graph();
  const Tensor& tensor = graph.at(id);
  if (!tensor.producer) return false;
  const std::vector<std::string>& made = graph.at(*tensor.producer).modes.front().devices;
  return std::ranges::any_of(tensor.consumers, [&](OperatorId consumer) {
    return std::ranges::any_of(graph.at(consumer).modes.front().devices, [&](const std::string& device) {
      return std::ranges::find(made, device) == made.end();
    });
  });
}

}  // namespace opweave
