#include "opweave/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "core/sort_by_time.h"
#include "core/state_bounds.h"
#include "opweave/error.h"

namespace opweave {

std::string_view to_string(PlanStatus status) {
  switch (status) {
    case PlanStatus::kOptimal:
      return "optimal";
    case PlanStatus::kFeasible:
      return "feasible";
  }
  throw InternalError("unknown plan status");
}

Duration Schedule::makespan(const Problem& problem) const {
  Duration latest;
  for (std::size_t t = 0; t < tasks.size(); ++t) latest = std::max(latest, end(problem, TaskId(t)));
  return latest;
}

Duration Plan::lower_bound() const {
  Duration best;
  for (const LowerBound& bound : bounds) best = std::max(best, bound.value);
  return best;
}

double Plan::gap() const {
  if (statistics.makespan == Duration()) return 0;
  return static_cast<double>((statistics.makespan - lower_bound()).value()) /
         static_cast<double>(statistics.makespan.value());
}

void state_bounds(Plan& plan, std::vector<LowerBound> bounds) {
  plan.bounds = std::move(bounds);
  std::ranges::stable_sort(plan.bounds, std::ranges::greater(), &LowerBound::value);
  plan.status = plan.lower_bound() == plan.statistics.makespan ? PlanStatus::kOptimal : PlanStatus::kFeasible;
}

namespace {

/// The tasks of the first operators, by start, then operator, then copy.
std::vector<PlannedTask> planned_tasks(const Problem& problem, const Schedule& schedule, std::size_t operators) {
  struct Started {
    Duration time;
    TaskId task;
  };
  std::vector<Started> order;
  const Training& training = problem.settings().training;
  for (std::size_t i = 0; i < std::min(operators, problem.graph().operators().size()); ++i) {
    const bool is_once = problem.graph().operators()[i].phase == Phase::kOptimizer;
    for (std::uint32_t copy = 0; copy < (is_once ? training.replicas : training.microbatches); ++copy) {
      const TaskId task = problem.task_of(OperatorId(i), copy);
      order.push_back({schedule.tasks[task.index()].start, task});
    }
  }
  sort_by_time(order);
  std::vector<PlannedTask> result;
  result.reserve(order.size());
  for (const auto& [start, task] : order) {
    const Mode mode = problem.mode(task, schedule.tasks[task.index()].mode);
    result.push_back({problem.task(task).op, problem.task(task).copy,
                      std::vector<DeviceId>(mode.devices.begin(), mode.devices.end()), start, start + mode.duration});
  }
  return result;
}

}  // namespace

Plan make_plan(const Problem& problem, const Schedule& schedule, std::vector<LowerBound> bounds, Provenance provenance,
               std::size_t listed) {
  Plan plan;
  plan.graph_name = problem.graph().name();
  plan.cluster_name = problem.cluster().name();
  plan.settings = problem.settings();
  plan.statistics = statistics(problem, schedule);
  plan.provenance = std::move(provenance);
  state_bounds(plan, std::move(bounds));

  plan.tasks = planned_tasks(problem, schedule, listed);
  plan.transfers.reserve(schedule.transfers.size());
  for (const Transfer& transfer : schedule.transfers) {
    plan.transfers.push_back({problem.tensor_of(transfer.value), problem.copy_of(transfer.value), transfer.source,
                              transfer.destination, transfer.start, transfer.end});
  }
  std::sort(plan.transfers.begin(), plan.transfers.end(), [](const PlannedTransfer& a, const PlannedTransfer& b) {
    return std::tie(a.start, a.tensor, a.copy, a.destination) < std::tie(b.start, b.tensor, b.copy, b.destination);
  });
  return plan;
}

Schedule to_schedule(const Problem& problem, const Plan& plan) {
  if (!plan.modes.empty() || !plan.movements.empty()) {
    throw InputError("the plan makes values again or copies them to hosts (memory modes), which is not supported here");
  }
  Schedule schedule;
  schedule.tasks.resize(problem.task_count());
  std::vector<bool> seen(problem.task_count(), false);
  const Training& training = problem.settings().training;
  for (const PlannedTask& planned : plan.tasks) {
    const Operator& op = problem.graph().at(planned.op);
    const std::uint32_t copies = op.phase == Phase::kOptimizer ? training.replicas : training.microbatches;
    if (planned.copy >= copies) {
      throw InputError(
          fmt::format("plan has copy {} of operator \"{}\", but there are {}", planned.copy, op.name, copies));
    }
    const TaskId task = problem.task_of(planned.op, planned.copy);
    if (seen[task.index()]) throw InputError(fmt::format("plan runs task \"{}\" twice", problem.task_name(task)));
    seen[task.index()] = true;
    ModeIndex index = 0;
    const ModeIndex count = problem.mode_count(task);
    if (planned.devices.size() == 1) {
      index = problem.mode_on(task, planned.devices.front()).value_or(count);
    } else {
      while (index < count && !std::ranges::equal(problem.mode(task, index).devices, planned.devices)) ++index;
    }
    if (index == count) {
      throw InputError(fmt::format("plan runs task \"{}\" on devices that are no mode of it", problem.task_name(task)));
    }
    schedule.tasks[task.index()] = {index, planned.start};
  }
  const auto missing = std::find(seen.begin(), seen.end(), false);
  if (missing != seen.end()) {
    throw InputError(fmt::format("plan lacks task \"{}\"",
                                 problem.task_name(TaskId(static_cast<std::size_t>(missing - seen.begin())))));
  }
  for (const PlannedTransfer& planned : plan.transfers) {
    const Tensor& tensor = problem.graph().at(planned.tensor);
    const bool per_replica = tensor.producer && problem.graph().at(*tensor.producer).phase == Phase::kOptimizer;
    const std::uint32_t copies = per_replica ? training.replicas : training.microbatches;
    if (planned.copy >= copies) {
      throw InputError(
          fmt::format("plan moves copy {} of tensor \"{}\", but there are {}", planned.copy, tensor.name, copies));
    }
    schedule.transfers.push_back({problem.value_of(planned.tensor, planned.copy), planned.source, planned.destination,
                                  planned.start, planned.end});
  }
  return schedule;
}

}  // namespace opweave
