#include "memory_modes/due_times.h"

#include <algorithm>

namespace opweave {
namespace {

bool is_backward(Phase phase) {
  return phase == Phase::kInputGradient || phase == Phase::kWeightGradient || phase == Phase::kBackward;
}

}  // namespace

DueTimes::DueTimes(const ComputationGraph& graph, const std::vector<std::uint32_t>& unit_of,
                   const std::vector<MemoryMode>& modes, const GraphWithMovements& derived)
    : graph_(graph),
      unit_of_(unit_of),
      modes_(modes),
      position_(graph.operators().size()),
      first_reader_(graph.operators().size(), GraphWithMovements::kNone),
      size_(graph.operators().size(), 0) {
  const std::vector<OperatorId>& order = graph.topological_order();
  for (std::size_t i = 0; i < order.size(); ++i) position_[order[i].index()] = static_cast<std::uint32_t>(i);
  for (std::size_t i = 0; i < unit_of.size(); ++i) {
    if (graph.operators()[i].phase == Phase::kForward) ++size_[unit_of[i]];
  }
  find_first_readers(derived);
}

/// Units in the order against the forward pass: what runs again for one that is needed early is needed early itself.
void DueTimes::find_first_readers(const GraphWithMovements& derived) {
  const std::vector<OperatorId>& order = graph_.topological_order();
  for (std::size_t i = order.size(); i-- > 0;) {
    const Operator& op = graph_.at(order[i]);
    const std::uint32_t unit = unit_of_[order[i].index()];
    for (const TensorId output : op.outputs) {
      if (modes_[output.index()] == MemoryMode::kKeep) continue;
      for (const OperatorId reader : graph_.at(output).consumers) {
        if (is_backward(graph_.at(reader).phase)) {
          first_reader_[unit] = std::min(first_reader_[unit], position_[reader.index()]);
        } else if (derived.again[reader.index()] != GraphWithMovements::kNone) {
          first_reader_[unit] = std::min(first_reader_[unit], first_reader_[unit_of_[reader.index()]]);
        }
      }
    }
  }
}

/// What makes the gradients that an operator of the backward pass reads.
std::vector<OperatorId> DueTimes::makers_before(OperatorId op) const {
  std::vector<OperatorId> result;
  for (const TensorId input : graph_.at(op).inputs) {
    const auto& maker = graph_.at(input).producer;
    if (maker && is_backward(graph_.at(*maker).phase)) result.push_back(*maker);
  }
  std::ranges::sort(result);
  result.erase(std::ranges::unique(result).begin(), result.end());
  return result;
}

std::vector<std::vector<OperatorId>> DueTimes::releases() const {
  std::vector<std::vector<OperatorId>> result(first_reader_.size());
  for (std::size_t unit = 0; unit < result.size(); ++unit) {
    if (first_reader_[unit] == GraphWithMovements::kNone) continue;
    std::vector<OperatorId> before = makers_before(graph_.topological_order()[first_reader_[unit]]);
    for (std::uint32_t step = 1; step < size_[unit] && !before.empty(); ++step) {
      std::vector<OperatorId> earlier;
      for (const OperatorId op : before) {
        for (const OperatorId maker : makers_before(op)) earlier.push_back(maker);
      }
      if (earlier.empty()) break;
      std::ranges::sort(earlier);
      earlier.erase(std::ranges::unique(earlier).begin(), earlier.end());
      before = std::move(earlier);
    }
    result[unit] = std::move(before);
  }
  return result;
}

}  // namespace opweave
