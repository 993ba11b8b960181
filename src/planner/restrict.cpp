#include "planner/restrict.h"

#include <algorithm>
#include <string>

#include "opweave/error.h"

namespace opweave {
namespace {

/// Limits every device to `memory` bytes.
Cluster with_memory(const Problem& problem, Bytes memory) {
  ClusterParts parts = problem.cluster().parts();
  for (std::size_t d = 0; d < parts.devices.size(); ++d) {
    const std::optional<Bytes> capacity = problem.capacity(DeviceId(d));
    parts.devices[d].memory = capacity ? std::min(*capacity, memory) : memory;
  }
  return Cluster::create(std::move(parts));
}

/// Drops the modes that need a device that is not allowed.
class GraphOnDevices {
 public:
  GraphOnDevices(const Problem& problem, const std::vector<DeviceId>& devices) : problem_(problem) {
    is_allowed_.assign(problem.cluster().device_count(), false);
    for (const DeviceId device : devices) is_allowed_[device.index()] = true;
    replica_task_.assign(problem.graph().operators().size() * replicas(), std::nullopt);
    for (std::size_t t = 0; t < problem.task_count(); ++t) {
      const Task& task = problem.task(TaskId(t));
      replica_task_[task.op.index() * replicas() + task.replica] = TaskId(t);
    }
  }

  /// Nothing if an operator has no mode left.
  std::optional<ComputationGraph> build() const {
    const ComputationGraph& graph = problem_.graph();
    std::vector<Operator> operators = graph.operators();
    for (std::size_t i = 0; i < operators.size(); ++i) {
      if (!restrict_operator(OperatorId(i), operators[i])) return std::nullopt;
    }
    return ComputationGraph::create(graph.name(), std::move(operators), graph.tensors(), graph.parameters(),
                                    graph.training());
  }

 private:
  [[nodiscard]] std::uint32_t replicas() const { return problem_.settings().training.replicas; }

  bool restrict_operator(OperatorId id, Operator& op) const {
    if (!op.modes.empty()) {
      std::erase_if(op.modes, [&](const ModeSpec& mode) {
        return std::any_of(mode.devices.begin(), mode.devices.end(), [&](const std::string& name) {
          return !is_allowed_[problem_.cluster().find_device(name)->index()];
        });
      });
      return !op.modes.empty();
    }
    std::vector<std::vector<std::string>> lists;
    for (std::uint32_t replica = 0; replica < replicas(); ++replica) {
      const std::optional<TaskId> task = replica_task_[id.index() * replicas() + replica];
      std::vector<std::string>& names = lists.emplace_back();
      // A replica without microbatches runs nothing: any list will do.
      const TaskId shown = task.value_or(problem_.task_of(id, 0));
      for (ModeIndex m = 0; m < problem_.mode_count(shown); ++m) {
        const DeviceId device = problem_.mode(shown, m).devices.front();
        if (is_allowed_[device.index()]) names.push_back(problem_.cluster().at(device).name);
      }
      if (names.empty()) return false;
    }
    if (op.devices.size() <= 1) lists.resize(1);
    op.devices = std::move(lists);
    return true;
  }

  const Problem& problem_;
  std::vector<bool> is_allowed_;
  std::vector<std::optional<TaskId>> replica_task_;
};

/// The same schedule in the modes of another problem of the same tasks.
std::optional<Schedule> translate(const Problem& from, const Problem& to, Schedule schedule) {
  for (std::size_t t = 0; t < from.task_count(); ++t) {
    const auto mode = to.mode_on(TaskId(t), from.mode(TaskId(t), schedule.tasks[t].mode).devices);
    if (!mode) return std::nullopt;
    schedule.tasks[t].mode = *mode;
  }
  return schedule;
}

}  // namespace

std::optional<RestrictedProblem> RestrictedProblem::create(const Problem& problem, const Restriction& restriction) {
  if (!restriction.memory && !restriction.devices) return RestrictedProblem(problem, problem);
  ProblemSettings settings = problem.settings();
  Cluster cluster = problem.cluster();
  if (restriction.memory) {
    cluster = with_memory(problem, *restriction.memory);
    settings.memory_limit = std::nullopt;
  }
  std::optional<ComputationGraph> graph = problem.graph();
  if (restriction.devices) graph = GraphOnDevices(problem, *restriction.devices).build();
  if (!graph) return std::nullopt;
  try {
    return RestrictedProblem(problem, Problem::create(std::move(*graph), std::move(cluster), std::move(settings)));
  } catch (const InputError&) {
    return std::nullopt;  // a group without a common device
  }
}

Schedule RestrictedProblem::widen(Schedule schedule) const {
  auto result = translate(restricted_, original_, std::move(schedule));
  if (!result) throw InternalError("a restricted problem has a mode that the problem does not have");
  return std::move(*result);
}

std::optional<Schedule> RestrictedProblem::narrow(Schedule schedule) const {
  return translate(original_, restricted_, std::move(schedule));
}

}  // namespace opweave
