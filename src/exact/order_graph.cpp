#include "exact/order_graph.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "exact/schedule_space.h"

namespace opweave::exact {

RoughSchedule rough(const Schedule& schedule) {
  RoughSchedule result;
  result.modes = schedule.modes();
  for (const TaskAssignment& task : schedule.tasks) {
    result.starts.push_back(static_cast<double>(task.start.value()));
  }
  for (const Transfer& transfer : schedule.transfers) {
    result.transfers.push_back(
        {transfer.value, transfer.source, transfer.destination, static_cast<double>(transfer.start.value())});
  }
  return result;
}

OrderGraph::OrderGraph(const Problem& problem, const RoughSchedule& schedule) : problem_(problem), given_(schedule) {
  collect_nodes();
  add_precedence();
  add_chains();
}

bool OrderGraph::runs_on(TaskId task, DeviceId device) const {
  const auto devices = mode(task).devices;
  return std::binary_search(devices.begin(), devices.end(), device);
}

OrderGraph::Node OrderGraph::transfer_node(ValueId value, DeviceId destination) const {
  const auto found = transfer_of_.find({value, destination});
  return found == transfer_of_.end() ? kNone : found->second;
}

void OrderGraph::collect_nodes() {
  start_ = given_.starts;
  for (std::size_t t = 0; t < problem_.task_count(); ++t) duration_.push_back(mode(TaskId(t)).duration.value());
  for (const RoughSchedule::Transfer& transfer : given_.transfers) {
    const std::optional<TaskId> producer = problem_.producer(transfer.value);
    if (!producer || runs_on(*producer, transfer.destination)) continue;
    const auto consumers = problem_.consumers(transfer.value);
    const bool is_used = std::any_of(consumers.begin(), consumers.end(),
                                     [&](TaskId task) { return runs_on(task, transfer.destination); });
    if (!is_used) continue;
    const auto time = problem_.transfer_time(transfer.value, transfer.source, transfer.destination);
    const bool is_new = transfer_of_.try_emplace({transfer.value, transfer.destination}, duration_.size()).second;
    if (!time || !is_new || !runs_on(*producer, transfer.source)) {
      is_complete_ = false;
      continue;
    }
    transfers_.push_back(transfer);
    start_.push_back(transfer.start);
    duration_.push_back(time->value());
  }
}

void OrderGraph::add_end_to_start(Node from, Node to) {
  if (from != to) arcs_.push_back({from, to, duration_[from]});
}

void OrderGraph::add_precedence() {
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    const TaskId task(t);
    for (const TaskId before : problem_.control_predecessors(task)) add_end_to_start(before.index(), t);
    for (const ValueId value : problem_.inputs(task)) {
      const std::optional<TaskId> producer = problem_.producer(value);
      if (!producer) continue;
      for (const DeviceId device : mode(task).devices) {
        if (runs_on(*producer, device)) {
          add_end_to_start(producer->index(), t);
        } else if (const Node node = transfer_node(value, device); node != kNone) {
          add_end_to_start(node, t);
        } else {
          is_complete_ = false;
        }
      }
    }
  }
  for (std::size_t i = 0; i < transfers_.size(); ++i) {
    add_end_to_start(problem_.producer(transfers_[i].value)->index(), problem_.task_count() + i);
  }
}

void OrderGraph::sort_by_start(std::vector<Node>& nodes) const {
  std::sort(nodes.begin(), nodes.end(), [&](Node a, Node b) {
    return std::tuple(start_[a], rough_end(a), a) < std::tuple(start_[b], rough_end(b), b);
  });
}

void OrderGraph::chain(std::vector<Node>& nodes) {
  sort_by_start(nodes);
  for (std::size_t i = 1; i < nodes.size(); ++i) add_end_to_start(nodes[i - 1], nodes[i]);
}

void OrderGraph::add_chains() {
  const std::size_t stream_count = problem_.cluster().stream_names().size();
  streams_.resize(problem_.cluster().device_count() * stream_count);
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    if (duration_[t] == 0) continue;  // holds nothing
    for (const DeviceId device : mode(TaskId(t)).devices) {
      for (std::uint32_t mask = problem_.streams(TaskId(t)); mask != 0; mask &= mask - 1) {
        streams_[device.index() * stream_count + static_cast<std::size_t>(__builtin_ctz(mask))].push_back(t);
      }
    }
  }
  std::map<std::uint64_t, std::vector<Node>> channels;
  for (std::size_t i = 0; i < transfers_.size(); ++i) {
    const Node node = problem_.task_count() + i;
    if (duration_[node] == 0) continue;
    for (const Cluster::Channel key : problem_.channels(transfers_[i].source, transfers_[i].destination)) {
      channels[key].push_back(node);
    }
  }
  for (auto& nodes : streams_) chain(nodes);
  for (auto& [key, nodes] : channels) chain(nodes);
}

std::vector<OrderGraph::Residence> OrderGraph::residences_on(DeviceId device) const {
  std::vector<Residence> result;
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    if (mode(TaskId(t)).workspace > Bytes() && runs_on(TaskId(t), device)) result.push_back({{t}, {t}});
  }
  for (std::size_t v = 0; v < problem_.value_count(); ++v) {
    const ValueId value(v);
    if (problem_.size(value) == Bytes()) continue;
    Residence residence;
    for (const TaskId consumer : problem_.consumers(value)) {
      if (runs_on(consumer, device)) residence.until.push_back(consumer.index());
    }
    const std::optional<TaskId> producer = problem_.producer(value);
    if (!producer) {
      residence.from = residence.until;
    } else if (runs_on(*producer, device)) {
      residence.from = {producer->index()};
      residence.until.push_back(producer->index());
      const auto begin = transfer_of_.lower_bound({value, DeviceId(0)});
      for (auto entry = begin; entry != transfer_of_.end() && entry->first.first == value; ++entry) {
        if (transfers_[entry->second - problem_.task_count()].source == device) {
          residence.until.push_back(entry->second);
        }
      }
    } else if (const Node node = transfer_node(value, device); node != kNone) {
      residence.from = {node};
      residence.until.push_back(node);
    }
    if (!residence.from.empty()) result.push_back(std::move(residence));
  }
  return result;
}

void OrderGraph::add_memory_order(DeviceId device) {
  const std::vector<Residence> residences = residences_on(device);
  std::vector<Node> allocations;
  for (const Residence& residence : residences) {
    allocations.insert(allocations.end(), residence.from.begin(), residence.from.end());
  }
  std::sort(allocations.begin(), allocations.end());
  allocations.erase(std::unique(allocations.begin(), allocations.end()), allocations.end());
  sort_by_start(allocations);
  for (std::size_t i = 1; i < allocations.size(); ++i) arcs_.push_back({allocations[i - 1], allocations[i], 0});
  for (const Residence& residence : residences) {
    double release = -std::numeric_limits<double>::infinity();
    for (const Node node : residence.until) release = std::max(release, rough_end(node));
    const auto next = std::lower_bound(allocations.begin(), allocations.end(), release - given_.tolerance,
                                       [&](Node node, double time) { return start_[node] < time; });
    if (next == allocations.end()) continue;
    for (const Node node : residence.until) add_end_to_start(node, *next);
  }
}

std::vector<OrderGraph::Node> OrderGraph::by_start() const {
  std::vector<Node> order(duration_.size());
  std::iota(order.begin(), order.end(), Node{0});
  sort_by_start(order);
  return order;
}

std::optional<std::vector<std::int64_t>> OrderGraph::earliest_starts() {
  if (!is_complete_) return std::nullopt;
  const std::vector<Node> order = by_start();
  std::vector<std::size_t> rank(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) rank[order[i]] = i;
  std::sort(arcs_.begin(), arcs_.end(), [&](const Arc& a, const Arc& b) {
    return std::tuple(rank[a.from], rank[a.to], a.lag) < std::tuple(rank[b.from], rank[b.to], b.lag);
  });
  const std::int64_t most = std::accumulate(duration_.begin(), duration_.end(), std::int64_t{0});
  std::vector<std::int64_t> starts(duration_.size(), 0);
  for (bool changed = true; changed;) {
    changed = false;
    for (const Arc& arc : arcs_) {
      const std::int64_t least = starts[arc.from] + arc.lag;
      if (starts[arc.to] >= least) continue;
      if (least > most) return std::nullopt;  // a circle: it would grow for ever
      starts[arc.to] = least;
      changed = true;
    }
  }
  return starts;
}

Schedule OrderGraph::schedule(const std::vector<std::int64_t>& starts) const {
  Schedule result;
  for (std::size_t t = 0; t < problem_.task_count(); ++t) {
    result.tasks.push_back({given_.modes[t], Duration(starts[t])});
  }
  for (std::size_t i = 0; i < transfers_.size(); ++i) {
    const Node node = problem_.task_count() + i;
    result.transfers.push_back({transfers_[i].value, transfers_[i].source, transfers_[i].destination,
                                Duration(starts[node]), Duration(starts[node] + duration_[node])});
  }
  return result;
}

}  // namespace opweave::exact
