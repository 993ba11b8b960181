#include "memory_modes/levers.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <string>

#include "core/units.h"
#include "memory_modes/derive.h"

namespace opweave {
namespace {

/// Who reads a tensor.
struct Readers {
  bool behind = false;   ///< the backward pass or the optimizer
  bool outside = false;  ///< the forward pass, in another unit
};

Readers readers_of(const ComputationGraph& graph, const std::vector<std::uint32_t>& unit_of, TensorId tensor) {
  Readers readers;
  const std::uint32_t own = unit_of[graph.at(tensor).producer->index()];
  for (const OperatorId reader : graph.at(tensor).consumers) {
    const Phase phase = graph.at(reader).phase;
    const bool is_forward = phase == Phase::kForward || phase == Phase::kNone;
    readers.behind = readers.behind || !is_forward;
    readers.outside = readers.outside || (is_forward && unit_of[reader.index()] != own);
  }
  return readers;
}

/// Some device on which the operator may run has a host.
bool may_reach_host(const Cluster& cluster, const Operator& op) {
  const auto has_host = [&](const std::string& name) {
    const std::optional<DeviceId> device = cluster.find_device(name);
    const DeviceType* type = device ? cluster.type_of(*device) : nullptr;
    return type != nullptr && type->host_link.has_value();
  };
  if (!op.modes.empty()) {
    return std::ranges::any_of(op.modes,
                               [&](const ModeSpec& mode) { return std::ranges::all_of(mode.devices, has_host); });
  }
  if (!op.devices.empty()) {
    return std::ranges::all_of(op.devices, [&](const auto& list) { return std::ranges::any_of(list, has_host); });
  }
  return std::ranges::any_of(cluster.devices(), [&](const Device& device) { return has_host(device.name); });
}

/// Where a unit is: units of one place share its memory. Named devices where no more than the replicas need are
/// allowed, else the stage.
std::string place_of(const Problem& problem, const Operator& op) {
  std::set<std::string> devices;
  for (const auto& list : op.devices) devices.insert(list.begin(), list.end());
  for (const ModeSpec& mode : op.modes) devices.insert(mode.devices.begin(), mode.devices.end());
  std::string place;
  if (devices.empty() || devices.size() > problem.settings().training.replicas) {
    return op.stage ? fmt::format("stage {}", op.stage->index()) : place;
  }
  for (const std::string& device : devices) place += device + "\n";
  return place;
}

/// By operator: a moment before which it cannot start, if nothing but its inputs is waited for.
std::vector<std::int64_t> heads_of(const Problem& problem) {
  std::vector<std::int64_t> head(problem.graph().operators().size(), 0);
  for (const OperatorId op : problem.graph().topological_order()) {
    const std::int64_t end = head[op.index()] + problem.shortest(problem.task_of(op, 0)).value();
    for (const TensorId output : problem.graph().at(op).outputs) {
      for (const OperatorId reader : problem.graph().at(output).consumers) {
        head[reader.index()] = std::max(head[reader.index()], end);
      }
    }
  }
  return head;
}

}  // namespace

std::vector<UnitLevers> levers_of(const Problem& problem) {
  const ComputationGraph& graph = problem.graph();
  const std::vector<std::uint32_t> unit_of = units_of(graph);
  struct Parts {
    Lever drop_all{MemoryMode::kDrop, {}};
    Lever drop_inner{MemoryMode::kDrop, {}};
    Lever host{MemoryMode::kHost, {}};
    bool inner_is_needed = false;
    Bytes kept;
    std::string place;
    std::uint32_t stage = 0;
    std::int64_t stays = 0;  ///< time for which it is certainly needed
  };
  std::map<std::uint32_t, Parts> units;
  const std::vector<std::int64_t> head = heads_of(problem);
  for (std::size_t t = 0; t < graph.tensors().size(); ++t) {
    const TensorId tensor(t);
    const auto producer = graph.at(tensor).producer;
    if (!producer || graph.at(*producer).phase != Phase::kForward) continue;
    const Operator& op = graph.at(*producer);
    Parts& unit = units[unit_of[producer->index()]];
    unit.place = place_of(problem, op);
    if (op.stage) unit.stage = static_cast<std::uint32_t>(op.stage->index());
    const MemoryModes allowed = graph.memory_modes(tensor, problem.settings().memory_modes);
    const Readers readers = readers_of(graph, unit_of, tensor);
    if (readers.behind) unit.kept += graph.at(tensor).size;
    for (const OperatorId reader : graph.at(tensor).consumers) {
      unit.stays = std::max(unit.stays, head[reader.index()] - head[producer->index()]);
    }
    // What must stay is read as it is when the unit runs again. What takes no room and is read behind the forward pass
    // stays: to wait for it would gain nothing. What only the unit reads goes, so that it runs again in its own order.
    const bool is_worth_it = readers.behind ? graph.at(tensor).size > Bytes() : !readers.outside;
    if (allowed.drop && is_worth_it) {
      unit.drop_all.tensors.push_back(tensor);
      if (!readers.outside) {
        unit.drop_inner.tensors.push_back(tensor);
        unit.inner_is_needed = unit.inner_is_needed || readers.behind;
      }
    }
    if (allowed.host && readers.behind && graph.at(tensor).size > Bytes() && may_reach_host(problem.cluster(), op)) {
      unit.host.tensors.push_back(tensor);
    }
  }
  std::vector<UnitLevers> result;
  std::map<std::uint32_t, std::uint32_t> seen_of_stage;
  std::vector<std::pair<std::string, std::int64_t>> places;  // by entry of result: and how long its values stay
  for (auto& [number, unit] : units) {
    UnitLevers levers{number, {}, unit.kept, 0, 0};
    if (unit.kept > Bytes() && !unit.drop_all.tensors.empty()) {
      if (unit.inner_is_needed && unit.drop_inner.tensors.size() < unit.drop_all.tensors.size()) {
        levers.levers.push_back(std::move(unit.drop_inner));
      }
      levers.levers.push_back(std::move(unit.drop_all));
    }
    if (!unit.host.tensors.empty()) levers.levers.push_back(std::move(unit.host));
    if (levers.levers.empty()) continue;
    levers.rank_in_stage = seen_of_stage[unit.stage]++;
    places.emplace_back(unit.place, unit.stays);
    result.push_back(std::move(levers));
  }
  std::vector<std::size_t> order(result.size());
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::stable_sort(order, std::ranges::greater(), [&](std::size_t i) { return places[i].second; });
  std::map<std::string, std::uint32_t> seen;
  for (const std::size_t i : order) result[i].rank = seen[places[i].first]++;
  std::ranges::stable_sort(result, {}, [](const UnitLevers& a) { return std::pair(a.rank, -a.kept.value()); });
  return result;
}

}  // namespace opweave
