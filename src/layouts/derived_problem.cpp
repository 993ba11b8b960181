#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "layouts/derive.h"
#include "opweave/error.h"
#include "opweave/layouts.h"

namespace opweave {

DerivedProblem DerivedProblem::create(const LayoutProblem& original, LayoutSelection selection) {
  DerivedGraph derived = derive_layouts(original, selection);
  const bool releases = !derived.released_by.empty();
  Cluster cluster = releases ? with_release_stream(original.cluster()) : original.cluster();
  ProblemSettings settings = original.settings();
  settings.training = derived.graph.training();
  auto data = std::make_shared<Data>(
      Data{original, std::move(selection), Problem::create(std::move(derived.graph), std::move(cluster), settings),
           std::move(derived.movements), std::move(derived.tensor_of), std::move(derived.released_by)});
  DerivedProblem result;
  result.data_ = std::move(data);
  return result;
}

std::optional<std::size_t> DerivedProblem::movement_of(OperatorId op) const {
  const std::size_t first = data_->original.graph().graph.operators().size();
  if (op.index() < first || op.index() >= first + data_->movements.size()) return std::nullopt;
  return op.index() - first;
}

Schedule DerivedProblem::released(Schedule schedule) const {
  const Problem& problem = data_->problem;
  const std::size_t first = data_->original.graph().graph.operators().size();
  for (std::size_t i = 0; i < data_->released_by.size(); ++i) {
    const OperatorId release(first + data_->movements.size() + i);
    const OperatorId movement(first + data_->released_by[i]);
    const bool is_once = problem.graph().at(release).phase == Phase::kOptimizer;
    const std::uint32_t copies = is_once ? 1 : problem.settings().training.microbatches;
    for (std::uint32_t copy = 0; copy < copies; ++copy) {
      schedule.tasks[problem.task_of(release, copy).index()] = {0,
                                                                schedule.end(problem, problem.task_of(movement, copy))};
    }
  }
  return schedule;
}

LayoutPlan DerivedProblem::plan(const Schedule& given, std::vector<LowerBound> bounds, Provenance provenance) const {
  const Schedule schedule = released(given);
  const Problem& problem = data_->problem;
  LayoutPlan result;
  result.plan = make_plan(problem, schedule, std::move(bounds), std::move(provenance));
  result.plan.cluster_name = data_->original.cluster().name();
  result.plan.settings = data_->original.settings();
  result.plan.tasks.clear();
  const std::size_t first = data_->original.graph().graph.operators().size();
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const Task& task = problem.task(TaskId(t));
    const Mode mode = problem.mode(TaskId(t), 0);
    const Duration start = schedule.tasks[t].start;
    if (task.op.index() < first) {
      result.plan.tasks.push_back(
          {task.op, task.copy, {mode.devices.begin(), mode.devices.end()}, start, start + mode.duration});
    } else if (const auto number = movement_of(task.op)) {
      LayoutMovement movement = data_->movements[*number];
      movement.key.copy = task.copy;
      movement.start = start;
      movement.end = start + mode.duration;
      result.movements.push_back(std::move(movement));
    }
  }
  for (PlannedTransfer& transfer : result.plan.transfers) transfer.tensor = data_->tensor_of[transfer.tensor.index()];
  std::ranges::sort(result.plan.tasks, {}, [](const PlannedTask& a) { return std::tuple(a.start, a.op, a.copy); });
  std::ranges::sort(result.plan.transfers, {},
                    [](const PlannedTransfer& a) { return std::tuple(a.start, a.tensor, a.copy, a.destination); });
  std::ranges::sort(result.movements, [](const LayoutMovement& a, const LayoutMovement& b) {
    return std::tie(a.start, a.key) < std::tie(b.start, b.key);
  });
  for (std::size_t i = 0; i < first; ++i) {
    result.options.push_back(data_->original.option(OperatorId(i), data_->selection).name);
  }
  return result;
}

Schedule DerivedProblem::schedule(const LayoutPlan& plan) const {
  const Problem& problem = data_->problem;
  const ComputationGraph& graph = data_->original.graph().graph;
  Schedule schedule;
  schedule.tasks.resize(problem.task_count());
  std::vector<bool> seen(problem.task_count(), false);
  const auto place = [&](OperatorId op, std::uint32_t copy, Duration start) {
    const bool is_once = problem.graph().at(op).phase == Phase::kOptimizer;
    if (copy >= (is_once ? 1 : problem.settings().training.microbatches)) {
      throw InputError(
          fmt::format("plan has copy {} of \"{}\", which does not exist", copy, problem.graph().at(op).name));
    }
    const TaskId task = problem.task_of(op, copy);
    if (seen[task.index()]) throw InputError(fmt::format("plan runs \"{}\" twice", problem.task_name(task)));
    seen[task.index()] = true;
    schedule.tasks[task.index()] = {0, start};
  };
  for (const PlannedTask& task : plan.plan.tasks) place(task.op, task.copy, task.start);
  std::map<MovementKey, std::size_t> numbers;
  for (std::size_t i = 0; i < data_->movements.size(); ++i) numbers.emplace(data_->movements[i].key, i);
  for (const LayoutMovement& movement : plan.movements) {
    MovementKey key = movement.key;
    key.copy = 0;
    const auto found = numbers.find(key);
    if (found == numbers.end()) {
      throw InputError(fmt::format("plan has a movement ({}) of {} that its options do not ask for",
                                   to_string(movement.kind), to_string(key.moved)));
    }
    place(OperatorId(graph.operators().size() + found->second), movement.key.copy, movement.start);
  }
  const std::size_t releases = data_->released_by.size();
  for (std::size_t t = 0; t < seen.size(); ++t) {
    const OperatorId op = problem.task(TaskId(t)).op;
    const bool is_release = op.index() + releases >= problem.graph().operators().size();
    if (!seen[t] && !is_release) throw InputError(fmt::format("plan lacks \"{}\"", problem.task_name(TaskId(t))));
  }
  schedule = released(std::move(schedule));
  // Of one tensor only the whole value is sent: as it was made, or as it was summed.
  std::vector<std::optional<TensorId>> sent(graph.tensors().size());
  for (std::size_t t = 0; t < problem.graph().tensors().size(); ++t) {
    const TensorId original = data_->tensor_of[t];
    if (!needs_transfers(TensorId(t))) continue;
    sent[original.index()] = TensorId(t);
  }
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
