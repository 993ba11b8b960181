#include "memory_modes/unfold.h"

#include <fmt/format.h>

#include <map>

#include "opweave/error.h"

namespace opweave {
namespace {

class Unfolding {
 public:
  explicit Unfolding(const Problem& problem)
      : problem_(problem), graph_(problem.graph()), training_(problem.settings().training) {
    repeats_ = training_.microbatches > 1 || training_.replicas > 1;
  }

  ComputationGraph unfold() {
    if (training_.replicas > 1) require_separate_replicas();
    std::vector<Tensor> tensors(problem_.value_count());
    for (std::size_t v = 0; v < tensors.size(); ++v) {
      const Tensor& tensor = graph_.at(problem_.tensor_of(ValueId(v)));
      tensors[v].name = with_copy(tensor.name, problem_.copy_of(ValueId(v)));
      tensors[v].size = tensor.size;
      tensors[v].memory_modes = tensor.memory_modes;
    }
    std::vector<Parameter> parameters;
    for (const Parameter& parameter : graph_.parameters()) {
      for (std::uint32_t replica = 0; replica < training_.replicas; ++replica) {
        parameters.push_back({of_replica(parameter.name, replica), parameter.weights});
      }
    }
    std::vector<Operator> operators;
    operators.reserve(problem_.task_count());
    for (std::size_t t = 0; t < problem_.task_count(); ++t) operators.push_back(operator_of(TaskId(t)));
    Training once;
    once.gradient_bytes_per_weight_byte = training_.gradient_bytes_per_weight_byte;
    once.optimizer_bytes_per_weight_byte = training_.optimizer_bytes_per_weight_byte;
    return ComputationGraph::create(graph_.name(), std::move(operators), std::move(tensors), std::move(parameters),
                                    once);
  }

 private:
  [[nodiscard]] std::string with_copy(const std::string& name, std::uint32_t copy) const {
    return repeats_ ? fmt::format("{}#{}", name, copy) : name;
  }
  [[nodiscard]] std::string of_replica(const std::string& name, std::uint32_t replica) const {
    return training_.replicas > 1 && !name.empty() ? fmt::format("{}@{}", name, replica) : name;
  }

  Operator operator_of(TaskId id) const {
    const Task& task = problem_.task(id);
    Operator op = graph_.at(task.op);
    if (repeats_ && !op.anti_colocation.empty()) {
      throw InputError(fmt::format(
          "memory modes that differ between microbatches: operator \"{}\" is anti-colocated, which is not supported",
          op.name));
    }
    op.name = with_copy(op.name, task.copy);
    // Of a layer that names the unit there is one per microbatch from now on.
    if (op.phase == Phase::kForward && !(op.unit.empty() && op.layer.empty())) {
      op.unit = with_copy(op.unit.empty() ? op.layer : "unit " + op.unit, task.copy);
    }
    op.colocation = of_replica(op.colocation, task.replica);
    if (op.devices.size() > 1) op.devices = {op.devices[task.replica]};
    for (ParameterId& parameter : op.parameters) {
      parameter = ParameterId(parameter.index() * training_.replicas + task.replica);
    }
    op.inputs.clear();
    for (const ValueId value : problem_.inputs(id)) op.inputs.emplace_back(value.index());
    op.outputs.clear();
    for (const ValueId value : problem_.outputs(id)) op.outputs.emplace_back(value.index());
    op.after.clear();
    for (const TaskId earlier : problem_.control_predecessors(id)) op.after.emplace_back(earlier.index());
    return op;
  }

  /// Parameters of replicas become parameters of their own: where two of them lay on one device, they would count
  /// twice.
  void require_separate_replicas() const {
    std::map<std::pair<ParameterId, DeviceId>, std::uint32_t> homes;
    for (std::size_t g = 0; g < problem_.group_count(); ++g) {
      const auto parameters = problem_.parameters_of(GroupId(g));
      if (parameters.empty()) continue;
      const std::uint32_t replica = problem_.task(problem_.tasks_of(GroupId(g)).front()).replica;
      for (const Option& option : problem_.options(GroupId(g))) {
        for (const DeviceId device : option.devices) {
          for (const ParameterId parameter : parameters) {
            if (homes.try_emplace({parameter, device}, replica).first->second == replica) continue;
            throw InputError(fmt::format(
                "memory modes that differ between microbatches: replicas of parameter \"{}\" may share device \"{}\", "
                "expected separate devices of each replica",
                graph_.at(parameter).name, problem_.cluster().at(device).name));
          }
        }
      }
    }
  }

  const Problem& problem_;
  const ComputationGraph& graph_;
  const Training& training_;
  bool repeats_ = false;
};

}  // namespace

ComputationGraph unfold(const Problem& problem) { return Unfolding(problem).unfold(); }

}  // namespace opweave
