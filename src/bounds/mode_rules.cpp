#include "bounds/mode_rules.h"

#include <algorithm>
#include <limits>

#include "core/units.h"

namespace opweave::bounds {

ModeRules::ModeRules(const Problem& problem) : problem_(problem), units_(units_of(problem.graph())) {
  const ComputationGraph& graph = problem.graph();
  for (std::size_t t = 0; t < graph.tensors().size(); ++t) {
    const auto& producer = graph.tensors()[t].producer;
    const bool is_forward = producer && graph.at(*producer).phase == Phase::kForward;
    modes_.push_back(is_forward ? graph.memory_modes(TensorId(t), problem.settings().memory_modes) : MemoryModes());
    may_drop_ = may_drop_ || modes_.back().drop;
  }
}

bool ModeRules::runs_again_with(OperatorId op, TensorId tensor) const {
  const OperatorId maker = *problem_.graph().at(tensor).producer;
  return problem_.graph().at(op).phase == Phase::kForward && units_[op.index()] == units_[maker.index()];
}

std::vector<Nanoseconds> ModeRules::repetition_tails(const std::function<Nanoseconds(TaskId)>& after) const {
  const ComputationGraph& graph = problem_.graph();
  const std::size_t copies = problem_.settings().training.microbatches;
  std::vector<Nanoseconds> of_unit(graph.operators().size() * copies, kNever);
  const auto is_forward = [&](const Task& task) { return graph.at(task.op).phase == Phase::kForward; };
  const auto unit = [&](const Task& task) -> Nanoseconds& {
    return of_unit[units_[task.op.index()] * copies + task.copy];
  };
  const auto least_of_readers = [&](TaskId maker) {
    Nanoseconds least = kNever;
    for (const ValueId value : problem_.outputs(maker)) {
      if (!modes_[problem_.tensor_of(value).index()].drop) continue;
      for (const TaskId reader : problem_.consumers(value)) {
        const Task& task = problem_.task(reader);
        const Phase phase = graph.at(task.op).phase;
        if (phase == Phase::kNone) continue;
        least = std::min(least, phase == Phase::kForward ? unit(task) : after(reader));
      }
    }
    return least;
  };
  for (bool changes = true; changes;) {
    changes = false;
    for (std::size_t t = problem_.task_count(); t-- > 0;) {
      const Task& task = problem_.task(TaskId(t));
      if (!is_forward(task)) continue;
      const Nanoseconds least = least_of_readers(TaskId(t));
      if (least >= unit(task)) continue;
      unit(task) = least;
      changes = true;
    }
  }
  std::vector<Nanoseconds> result(problem_.task_count(), kNever);
  for (std::size_t t = 0; t < result.size(); ++t) {
    const Task& task = problem_.task(TaskId(t));
    if (is_forward(task)) result[t] = unit(task);
  }
  return result;
}

std::int64_t ModeRules::bytes_copied(DeviceId device, Nanoseconds time) const {
  __extension__ using Wide = __int128;
  const DeviceType* type = problem_.cluster().type_of(device);
  if (type == nullptr || !type->host_link || time <= 0) return 0;
  constexpr Wide kMost = std::numeric_limits<std::int64_t>::max() / 4;
  const std::optional<Bytes> host = problem_.cluster().at(device).host_memory;
  const Wide pool = host ? Wide{host->value()} : kMost;
  if (!type->host_link->bandwidth_bytes_per_s) return static_cast<std::int64_t>(std::min(pool, kMost));
  const Wide moved = Wide{*type->host_link->bandwidth_bytes_per_s} * time / 1'000'000'000;
  return static_cast<std::int64_t>(std::min({pool, moved, kMost}));
}

}  // namespace opweave::bounds
