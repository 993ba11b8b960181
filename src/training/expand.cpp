#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <vector>

#include "core/problem_data.h"
#include "opweave/error.h"

namespace opweave::detail {
namespace {

bool is_weight_update(Phase phase) { return phase == Phase::kWeightGradient || phase == Phase::kBackward; }

class Expander {
 public:
  explicit Expander(ProblemData& data)
      : data_(data),
        operators_(data.graph.operators()),
        microbatches_(data.settings.training.microbatches),
        replicas_(data.settings.training.replicas) {}

  void expand() {
    find_weight_updates();
    require_sane_size();
    make_tasks();
    make_values();
    connect_values();
    connect_control();
    merge_predecessors();
  }

 private:
  /// Counts what will be built before any of it is.
  void require_sane_size() const {
    const double m = microbatches_;
    const double r = replicas_;
    double tasks = 0;
    double edges = 0;
    for (std::size_t i = 0; i < operators_.size(); ++i) {
      const Operator& op = operators_[i];
      const auto inputs = static_cast<double>(op.inputs.size() + op.after.size());
      const auto outputs = static_cast<double>(op.outputs.size());
      if (!per_replica(OperatorId(i))) {
        tasks += m;
        edges += m * (inputs + outputs);
        continue;
      }
      // An optimizer operator reads what every microbatch made, and waits for the gradients of all.
      std::size_t updates = op.parameters.empty() ? weight_updates_.size() : 0;
      for (const ParameterId parameter : op.parameters) updates += updates_of_parameter_[parameter.index()].size();
      tasks += r;
      edges += r * (m * (inputs + static_cast<double>(updates)) + outputs);
    }
    const auto require = [&](double count, const char* what) {
      constexpr double kMost = 100e6;  // some 100 bytes each: beyond this, no machine that plans has the memory
      if (count <= kMost) return;
      throw InputError(
          fmt::format("the iteration would have {:.0f} {}, expected at most {:.0f}: the graph has {} "
                      "operators and {} tensors, repeated over {} microbatches and {} replicas",
                      count, what, kMost, operators_.size(), data_.graph.tensors().size(), microbatches_, replicas_));
    };
    const double values = m * static_cast<double>(data_.graph.tensors().size());
    require(tasks, "operator instances");
    require(values, "tensor instances");
    require(edges, "edges");
    // What a problem and its first plan were measured to take; searches take more, where there is more.
    constexpr double kBytesPerTask = 250;
    constexpr double kBytesPerValue = 120;
    constexpr double kBytesPerEdge = 80;
    constexpr double kMostBytes = 4e9;
    const double bytes = kBytesPerTask * tasks + kBytesPerValue * values + kBytesPerEdge * edges;
    if (bytes > kMostBytes) {
      throw InputError(fmt::format(
          "the iteration would take {:.1f} GB of memory, expected at most {:.1f} GB: the graph has {} "
          "operators and {} tensors, repeated over {} microbatches and {} replicas",
          bytes / 1e9, kMostBytes / 1e9, operators_.size(), data_.graph.tensors().size(), microbatches_, replicas_));
    }
  }

  [[nodiscard]] bool per_replica(OperatorId op) const { return data_.graph.at(op).phase == Phase::kOptimizer; }

  [[nodiscard]] TaskId task_of(OperatorId op, std::uint32_t copy) const {
    const std::size_t rank = data_.operator_rank[op.index()];
    if (!per_replica(op)) return TaskId(copy * data_.repeated_operators + rank);
    return TaskId(microbatches_ * data_.repeated_operators + copy * data_.optimizer_operators + rank);
  }

  [[nodiscard]] ValueId value_of(TensorId tensor, std::uint32_t copy) const {
    const std::size_t rank = data_.tensor_rank[tensor.index()];
    if (!data_.tensor_per_replica[tensor.index()]) return ValueId(copy * data_.repeated_tensors + rank);
    return ValueId(microbatches_ * data_.repeated_tensors + copy * data_.optimizer_tensors + rank);
  }

  void make_tasks() {
    data_.operator_rank.resize(operators_.size());
    for (const OperatorId op : data_.graph.topological_order()) {
      std::size_t& count = per_replica(op) ? data_.optimizer_operators : data_.repeated_operators;
      data_.operator_rank[op.index()] = static_cast<std::uint32_t>(count++);
    }
    data_.tasks.resize(microbatches_ * data_.repeated_operators + replicas_ * data_.optimizer_operators);
    for (const OperatorId op : data_.graph.topological_order()) {
      const std::uint32_t copies = per_replica(op) ? replicas_ : microbatches_;
      for (std::uint32_t copy = 0; copy < copies; ++copy) {
        const std::uint32_t replica = per_replica(op) ? copy : data_.settings.training.replica_of(copy);
        data_.tasks[task_of(op, copy).index()] = {op, copy, replica};
      }
    }
  }

  void make_values() {
    const std::vector<Tensor>& tensors = data_.graph.tensors();
    data_.tensor_rank.resize(tensors.size());
    data_.tensor_per_replica.resize(tensors.size());
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      data_.tensor_per_replica[i] = tensors[i].producer && per_replica(*tensors[i].producer);
      std::size_t& count = data_.tensor_per_replica[i] ? data_.optimizer_tensors : data_.repeated_tensors;
      data_.tensor_rank[i] = static_cast<std::uint32_t>(count++);
    }
    const std::size_t count = microbatches_ * data_.repeated_tensors + replicas_ * data_.optimizer_tensors;
    data_.value_tensor.resize(count);
    data_.value_copy.resize(count);
    data_.value_producer.assign(count, kNoIndex);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      for (std::uint32_t copy = 0; copy < copies_of_tensor(i); ++copy) {
        const ValueId value = value_of(TensorId(i), copy);
        data_.value_tensor[value.index()] = TensorId(i);
        data_.value_copy[value.index()] = copy;
        if (tensors[i].producer) {
          data_.value_producer[value.index()] = static_cast<std::uint32_t>(task_of(*tensors[i].producer, copy).index());
        }
      }
    }
  }

  [[nodiscard]] std::uint32_t copies_of_tensor(std::size_t tensor) const {
    return data_.tensor_per_replica[tensor] ? replicas_ : microbatches_;
  }

  /// Copies of a tensor that one task consumes: its own, or all of them for an optimizer operator
  /// that reads what every microbatch made.
  template <class Visit>
  void for_each_input(const Task& task, Visit visit) const {
    for (const TensorId input : data_.graph.at(task.op).inputs) {
      if (per_replica(task.op) && !data_.tensor_per_replica[input.index()]) {
        for (std::uint32_t copy = 0; copy < microbatches_; ++copy) visit(value_of(input, copy));
      } else {
        visit(value_of(input, task.copy));
      }
    }
  }

  void connect_values() {
    std::vector<ValueId> list;
    std::vector<std::size_t> consumer_count(data_.value_tensor.size() + 1, 0);
    for (const Task& task : data_.tasks) {
      list.clear();
      for_each_input(task, [&](ValueId value) { list.push_back(value); });
      std::sort(list.begin(), list.end());
      for (const ValueId value : list) ++consumer_count[value.index() + 1];
      data_.inputs.items.insert(data_.inputs.items.end(), list.begin(), list.end());
      data_.inputs.close_list();

      list.clear();
      for (const TensorId output : data_.graph.at(task.op).outputs) list.push_back(value_of(output, task.copy));
      std::sort(list.begin(), list.end());
      data_.outputs.items.insert(data_.outputs.items.end(), list.begin(), list.end());
      data_.outputs.close_list();
    }
    for (std::size_t i = 1; i < consumer_count.size(); ++i) consumer_count[i] += consumer_count[i - 1];
    data_.consumers.offsets = consumer_count;
    data_.consumers.items.resize(consumer_count.back());
    std::vector<std::size_t> next(consumer_count.begin(), consumer_count.end() - 1);
    for (std::size_t t = 0; t < data_.tasks.size(); ++t) {
      for (const ValueId value : data_.inputs[t]) data_.consumers.items[next[value.index()]++] = TaskId(t);
    }
  }

  /// Operators of phase W or B by parameter, and all of them.
  void find_weight_updates() {
    updates_of_parameter_.resize(data_.graph.parameters().size());
    for (std::size_t i = 0; i < operators_.size(); ++i) {
      if (!is_weight_update(operators_[i].phase)) continue;
      weight_updates_.emplace_back(i);
      for (const ParameterId parameter : operators_[i].parameters)
        updates_of_parameter_[parameter.index()].emplace_back(i);
    }
  }

  void connect_control() {
    std::vector<TaskId> list;
    for (const Task& task : data_.tasks) {
      const Operator& op = data_.graph.at(task.op);
      list.clear();
      for (const OperatorId earlier : op.after) {
        if (per_replica(task.op) && !per_replica(earlier)) {
          add_all_microbatches(earlier, list);
        } else {
          list.push_back(task_of(earlier, task.copy));
        }
      }
      // The step of an optimizer waits for the gradients of all replicas: they are reduced before it.
      if (per_replica(task.op)) {
        if (op.parameters.empty()) {
          for (const OperatorId update : weight_updates_) add_all_microbatches(update, list);
        }
        for (const ParameterId parameter : op.parameters) {
          for (const OperatorId update : updates_of_parameter_[parameter.index()]) add_all_microbatches(update, list);
        }
      }
      std::sort(list.begin(), list.end());
      list.erase(std::unique(list.begin(), list.end()), list.end());
      data_.control_predecessors.items.insert(data_.control_predecessors.items.end(), list.begin(), list.end());
      data_.control_predecessors.close_list();
    }
  }

  void add_all_microbatches(OperatorId op, std::vector<TaskId>& list) const {
    for (std::uint32_t copy = 0; copy < microbatches_; ++copy) list.push_back(task_of(op, copy));
  }

  void merge_predecessors() {
    std::vector<TaskId> list;
    std::vector<std::size_t> successor_count(data_.tasks.size() + 1, 0);
    for (std::size_t t = 0; t < data_.tasks.size(); ++t) {
      const auto control = data_.control_predecessors[t];
      list.assign(control.begin(), control.end());
      for (const ValueId value : data_.inputs[t]) {
        if (data_.value_producer[value.index()] != kNoIndex) list.emplace_back(data_.value_producer[value.index()]);
      }
      std::sort(list.begin(), list.end());
      list.erase(std::unique(list.begin(), list.end()), list.end());
      for (const TaskId predecessor : list) ++successor_count[predecessor.index() + 1];
      data_.predecessors.items.insert(data_.predecessors.items.end(), list.begin(), list.end());
      data_.predecessors.close_list();
    }
    for (std::size_t i = 1; i < successor_count.size(); ++i) successor_count[i] += successor_count[i - 1];
    data_.successors.offsets = successor_count;
    data_.successors.items.resize(successor_count.back());
    std::vector<std::size_t> next(successor_count.begin(), successor_count.end() - 1);
    for (std::size_t t = 0; t < data_.tasks.size(); ++t) {
      for (const TaskId predecessor : data_.predecessors[t]) {
        data_.successors.items[next[predecessor.index()]++] = TaskId(t);
      }
    }
  }

  ProblemData& data_;
  const std::vector<Operator>& operators_;
  const std::uint32_t microbatches_;
  const std::uint32_t replicas_;
  std::vector<OperatorId> weight_updates_;
  std::vector<std::vector<OperatorId>> updates_of_parameter_;
};

}  // namespace

void expand(ProblemData& data) { Expander(data).expand(); }

}  // namespace opweave::detail
