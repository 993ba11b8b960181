#include "opweave/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <queue>
#include <set>
#include <string>
#include <utility>

#include "core/problem_data.h"
#include "core/require_amount.h"
#include "opweave/error.h"

namespace opweave {
namespace {

template <class Item>
void require_unique_names(const std::vector<Item>& items, const char* what) {
  // A hash table with open addressing: nodes for each of a million names would cost more than the names.
  struct Slot {
    std::uint32_t item = std::numeric_limits<std::uint32_t>::max();  ///< none
    std::uint32_t hash = 0;                                          ///< the part of it that says no place
  };
  std::vector<Slot> table(std::bit_ceil(2 * items.size() + 1));
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].name.empty()) throw InputError(fmt::format("{} {} has an empty name", what, i));
    const std::size_t hash = std::hash<std::string>()(items[i].name);
    const Slot own{static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(hash >> 32U)};
    std::size_t place = hash & (table.size() - 1);
    for (; table[place].item < items.size(); place = (place + 1) & (table.size() - 1)) {
      if (table[place].hash != own.hash || items[table[place].item].name != items[i].name) continue;
      throw InputError(fmt::format("{} \"{}\" is defined twice", what, items[i].name));
    }
    table[place] = own;
  }
}

template <class Item>
bool has_repeat(std::vector<Item> items) {
  std::sort(items.begin(), items.end());
  return std::adjacent_find(items.begin(), items.end()) != items.end();
}

/// Of texts; few are more than one.
bool has_repeat(const std::vector<std::string>& texts) {
  return texts.size() > 1 && has_repeat(std::vector<std::string_view>(texts.begin(), texts.end()));
}

template <class IdType>
void require_valid_list(const Operator& op, const std::vector<IdType>& ids, std::size_t count, const char* what) {
  for (const IdType id : ids) {
    if (id.index() >= count) {
      throw InputError(
          fmt::format("operator \"{}\" refers to {} {}, but there are {}", op.name, what, id.index(), count));
    }
  }
  if (ids.size() > 1 && has_repeat(ids)) {
    throw InputError(fmt::format("operator \"{}\" lists one {} twice", op.name, what));
  }
}

void require_rate(const std::optional<double>& value, const Operator& op, const char* what) {
  if (value && !(std::isfinite(*value) && *value >= 0)) {
    throw InputError(
        fmt::format("operator \"{}\" has {} {}, expected a finite number of at least 0", op.name, what, *value));
  }
}

void validate_operator(const Operator& op) {
  require_amount(op.workspace.value(), [&] { return fmt::format("workspace of operator \"{}\"", op.name); });
  require_rate(op.flops, op, "flops");
  require_rate(op.bytes_accessed, op, "bytes accessed");
  if (op.streams.empty()) throw InputError(fmt::format("operator \"{}\" has no stream", op.name));
  if (has_repeat(op.streams)) {
    throw InputError(fmt::format("operator \"{}\" lists one stream twice", op.name));
  }
  if (has_repeat(op.anti_colocation)) {
    throw InputError(fmt::format("operator \"{}\" lists one anti-colocation group twice", op.name));
  }
  std::set<std::string> types;
  for (const MeasuredDuration& measured : op.durations) {
    require_amount(measured.duration.value(), [&] { return fmt::format("duration of operator \"{}\"", op.name); });
    if (!types.insert(measured.device_type).second) {
      throw InputError(
          fmt::format("operator \"{}\" has two durations for device type \"{}\"", op.name, measured.device_type));
    }
  }
  if (!op.modes.empty() && (!op.durations.empty() || !op.devices.empty())) {
    throw InputError(
        fmt::format("operator \"{}\" has modes and also durations or devices, expected one of the two", op.name));
  }
  if (!op.modes.empty() && op.workspace > Bytes()) {
    throw InputError(
        fmt::format("operator \"{}\" has modes and also a workspace of {} bytes, expected the workspace in "
                    "each of the modes",
                    op.name, op.workspace.value()));
  }
  std::vector<std::vector<std::string_view>> gangs;
  for (const ModeSpec& mode : op.modes) {
    if (mode.devices.empty()) throw InputError(fmt::format("operator \"{}\" has a mode without a device", op.name));
    require_amount(mode.duration.value(), [&] { return fmt::format("mode duration of operator \"{}\"", op.name); });
    require_amount(mode.workspace.value(), [&] { return fmt::format("mode workspace of operator \"{}\"", op.name); });
    std::vector<std::string_view>& gang = gangs.emplace_back(mode.devices.begin(), mode.devices.end());
    std::sort(gang.begin(), gang.end());
    if (std::adjacent_find(gang.begin(), gang.end()) != gang.end()) {
      throw InputError(fmt::format("operator \"{}\" has a mode that lists one device twice", op.name));
    }
  }
  if (gangs.size() > 1 && has_repeat(std::move(gangs))) {
    throw InputError(fmt::format("operator \"{}\" has two modes on the same devices", op.name));
  }
}

/// Producers and "after" of each operator, ascending and without repeats.
detail::Lists<OperatorId> direct_predecessors(const std::vector<Operator>& operators,
                                              const std::vector<Tensor>& tensors) {
  detail::Lists<OperatorId> result;
  result.offsets.reserve(operators.size() + 1);
  for (const Operator& op : operators) {
    const auto first = static_cast<std::ptrdiff_t>(result.items.size());
    result.items.insert(result.items.end(), op.after.begin(), op.after.end());
    for (const TensorId input : op.inputs) {
      if (tensors[input.index()].producer) result.items.push_back(*tensors[input.index()].producer);
    }
    std::sort(result.items.begin() + first, result.items.end());
    result.items.erase(std::unique(result.items.begin() + first, result.items.end()), result.items.end());
    result.close_list();
  }
  return result;
}

/// One cycle among the operators that a topological sort could not place.
std::string describe_cycle(const std::vector<Operator>& operators, const detail::Lists<OperatorId>& predecessors,
                           const std::vector<std::size_t>& waiting_for) {
  std::size_t current = 0;
  while (waiting_for[current] == 0) ++current;
  // Each unplaced operator has an unplaced predecessor: walking backwards must revisit one.
  std::vector<std::size_t> position(operators.size(), operators.size());
  std::vector<std::size_t> walk;
  while (position[current] == operators.size()) {
    position[current] = walk.size();
    walk.push_back(current);
    for (const OperatorId predecessor : predecessors[current]) {
      if (waiting_for[predecessor.index()] > 0) {
        current = predecessor.index();
        break;
      }
    }
  }
  std::vector<std::size_t> cycle(walk.begin() + static_cast<std::ptrdiff_t>(position[current]), walk.end());
  std::reverse(cycle.begin(), cycle.end());
  std::rotate(cycle.begin(), std::min_element(cycle.begin(), cycle.end()), cycle.end());
  std::string text = fmt::format("cycle through {} operators: ", cycle.size());
  constexpr std::size_t kShown = 8;
  for (std::size_t i = 0; i < cycle.size(); ++i) {
    if (i == kShown && cycle.size() > kShown + 1) {
      text += fmt::format("... ({} more) -> ", cycle.size() - kShown);
      break;
    }
    text += fmt::format("\"{}\" -> ", operators[cycle[i]].name);
  }
  return text + fmt::format("\"{}\"", operators[cycle.front()].name);
}

std::vector<OperatorId> sort_topologically(const std::vector<Operator>& operators,
                                           const detail::Lists<OperatorId>& predecessors) {
  detail::Lists<std::uint32_t> successors;
  successors.offsets.assign(operators.size() + 1, 0);
  for (const OperatorId predecessor : predecessors.items) ++successors.offsets[predecessor.index() + 1];
  std::partial_sum(successors.offsets.begin(), successors.offsets.end(), successors.offsets.begin());
  successors.items.resize(predecessors.items.size());
  std::vector<std::size_t> next_place(successors.offsets.begin(), successors.offsets.end() - 1);
  std::vector<std::size_t> waiting_for(operators.size());
  for (std::size_t i = 0; i < operators.size(); ++i) {
    waiting_for[i] = predecessors[i].size();
    for (const OperatorId predecessor : predecessors[i]) {
      successors.items[next_place[predecessor.index()]++] = static_cast<std::uint32_t>(i);
    }
  }
  std::priority_queue<std::size_t, std::vector<std::size_t>, std::greater<>> ready;
  for (std::size_t i = 0; i < operators.size(); ++i) {
    if (waiting_for[i] == 0) ready.push(i);
  }
  std::vector<OperatorId> order;
  order.reserve(operators.size());
  while (!ready.empty()) {
    const std::size_t next = ready.top();
    ready.pop();
    order.emplace_back(next);
    for (const std::uint32_t successor : successors[next]) {
      if (--waiting_for[successor] == 0) ready.push(successor);
    }
  }
  if (order.size() != operators.size()) {
    throw InputError(describe_cycle(operators, predecessors, waiting_for));
  }
  return order;
}

}  // namespace

std::string_view to_string(Phase phase) {
  switch (phase) {
    case Phase::kNone:
      return "";
    case Phase::kForward:
      return "F";
    case Phase::kInputGradient:
      return "I";
    case Phase::kWeightGradient:
      return "W";
    case Phase::kBackward:
      return "B";
    case Phase::kOptimizer:
      return "O";
  }
  throw InternalError("unknown phase");
}

std::optional<Phase> phase_from_string(std::string_view text) {
  for (const Phase phase : {Phase::kNone, Phase::kForward, Phase::kInputGradient, Phase::kWeightGradient,
                            Phase::kBackward, Phase::kOptimizer}) {
    if (text == to_string(phase)) return phase;
  }
  return std::nullopt;
}

MemoryModes ComputationGraph::memory_modes(TensorId tensor, MemoryModes otherwise) const {
  const Tensor& one = at(tensor);
  if (!one.producer || at(*one.producer).phase != Phase::kForward) return {};
  return one.memory_modes.value_or(otherwise);
}

ComputationGraph ComputationGraph::create(std::string name, std::vector<Operator> operators,
                                          std::vector<Tensor> tensors, std::vector<Parameter> parameters,
                                          Training training) {
  validate(training);
  require_unique_names(operators, "operator");
  require_unique_names(tensors, "tensor");
  require_unique_names(parameters, "parameter");
  for (const Parameter& parameter : parameters) {
    require_amount(parameter.weights.value(), [&] { return fmt::format("size of parameter \"{}\"", parameter.name); });
  }
  for (Tensor& tensor : tensors) {
    require_amount(tensor.size.value(), [&] { return fmt::format("size of tensor \"{}\"", tensor.name); });
    tensor.producer.reset();
    tensor.consumers.clear();
  }
  for (std::size_t i = 0; i < operators.size(); ++i) {
    const Operator& op = operators[i];
    validate_operator(op);
    require_valid_list(op, op.inputs, tensors.size(), "tensor");
    require_valid_list(op, op.outputs, tensors.size(), "tensor");
    require_valid_list(op, op.parameters, parameters.size(), "parameter");
    require_valid_list(op, op.after, operators.size(), "operator");
    for (const TensorId output : op.outputs) {
      Tensor& tensor = tensors[output.index()];
      if (tensor.producer) {
        throw InputError(fmt::format("tensor \"{}\" is produced by two operators, \"{}\" and \"{}\"", tensor.name,
                                     operators[tensor.producer->index()].name, op.name));
      }
      tensor.producer = OperatorId(i);
    }
    for (const TensorId input : op.inputs) tensors[input.index()].consumers.emplace_back(i);
    if (!op.unit.empty() && op.phase != Phase::kForward) {
      throw InputError(fmt::format("operator \"{}\" is of unit \"{}\", but its phase is \"{}\", expected \"F\"",
                                   op.name, op.unit, to_string(op.phase)));
    }
  }
  for (const Tensor& tensor : tensors) {
    if (!tensor.memory_modes || (tensor.producer && operators[tensor.producer->index()].phase == Phase::kForward)) {
      continue;
    }
    throw InputError(
        fmt::format("tensor \"{}\" has memory modes, but no operator of phase \"F\" makes it", tensor.name));
  }

  const auto predecessors = direct_predecessors(operators, tensors);
  ComputationGraph graph;
  graph.topological_order_ = sort_topologically(operators, predecessors);
  for (std::size_t i = 0; i < operators.size(); ++i) {
    if (operators[i].phase == Phase::kOptimizer) continue;
    for (const OperatorId predecessor : predecessors[i]) {
      if (operators[predecessor.index()].phase == Phase::kOptimizer) {
        throw InputError(fmt::format("operator \"{}\" runs per microbatch but follows optimizer operator \"{}\"",
                                     operators[i].name, operators[predecessor.index()].name));
      }
    }
  }
  graph.name_ = std::move(name);
  graph.operators_ = std::move(operators);
  graph.tensors_ = std::move(tensors);
  graph.parameters_ = std::move(parameters);
  graph.training_ = std::move(training);
  return graph;
}

}  // namespace opweave
