#include "exact/retime.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <tuple>

#include "exact/schedule_space.h"
#include "opweave/error.h"
#include "opweave/plan.h"

namespace opweave::exact {
namespace {

constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

/// A task or a transfer: tasks first, in order of id.
using Node = std::size_t;

/// start(to) >= start(from) + lag.
struct Arc {
  Node from;
  Node to;
  std::int64_t lag;
};

class Retiming {
 public:
  Retiming(const Problem& problem, const RoughSchedule& rough) : problem_(problem), rough_(rough) {}

  std::optional<Schedule> run() {
    if (!collect_nodes()) return std::nullopt;
    add_precedence();
    add_chains();
    std::vector<bool> ordered(problem_.cluster().device_count(), false);
    for (;;) {
      if (!settle()) return std::nullopt;
      Schedule schedule = assemble();
      bool fits = true;
      bool added = false;
      const auto curves = memory_curves(problem_, schedule);
      for (std::size_t d = 0; d < curves.size(); ++d) {
        const std::optional<Bytes> capacity = problem_.capacity(DeviceId(d));
        if (!capacity) continue;
        const bool exceeds = std::any_of(curves[d].begin(), curves[d].end(),
                                         [&](const MemoryStep& step) { return step.bytes > *capacity; });
        if (!exceeds) continue;
        fits = false;
        if (ordered[d]) continue;
        ordered[d] = true;
        added = true;
        add_memory_order(DeviceId(d));
      }
      if (fits) return schedule;
      if (!added) return std::nullopt;
    }
  }

 private:
  [[nodiscard]] Mode mode(TaskId task) const { return problem_.mode(task, rough_.modes[task.index()]); }
  [[nodiscard]] bool runs_on(TaskId task, DeviceId device) const {
    const auto devices = mode(task).devices;
    return std::binary_search(devices.begin(), devices.end(), device);
  }
  [[nodiscard]] double rough_end(Node node) const { return rough_start_[node] + static_cast<double>(duration_[node]); }

  /// Node of the transfer of a value to a device, or kNone.
  [[nodiscard]] Node transfer_node(ValueId value, DeviceId destination) const {
    const auto found = transfer_of_.find({value, destination});
    return found == transfer_of_.end() ? kNone : found->second;
  }

  bool collect_nodes() {
    const std::size_t tasks = problem_.task_count();
    rough_start_ = rough_.starts;
    for (std::size_t t = 0; t < tasks; ++t) duration_.push_back(mode(TaskId(t)).duration.value());
    for (const RoughSchedule::Transfer& transfer : rough_.transfers) {
      const std::optional<TaskId> producer = problem_.producer(transfer.value);
      if (!producer || runs_on(*producer, transfer.destination)) continue;
      const auto consumers = problem_.consumers(transfer.value);
      const bool is_used = std::any_of(consumers.begin(), consumers.end(),
                                       [&](TaskId task) { return runs_on(task, transfer.destination); });
      if (!is_used) continue;
      const auto time = problem_.transfer_time(transfer.value, transfer.source, transfer.destination);
      const bool is_new = transfer_of_.try_emplace({transfer.value, transfer.destination}, duration_.size()).second;
      if (!time || !is_new || !runs_on(*producer, transfer.source)) return false;
      transfers_.push_back(transfer);
      rough_start_.push_back(transfer.start);
      duration_.push_back(time->value());
    }
    return true;
  }

  void add_end_to_start(Node from, Node to) {
    if (from != to) arcs_.push_back({from, to, duration_[from]});
  }

  /// What the graph demands; a needed transfer that is missing makes the schedule incomplete.
  void add_precedence() {
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

  /// Sorts by rough time and lets each start after the one before it has ended.
  void chain(std::vector<Node>& nodes) {
    sort_by_start(nodes);
    for (std::size_t i = 1; i < nodes.size(); ++i) add_end_to_start(nodes[i - 1], nodes[i]);
  }

  void sort_by_start(std::vector<Node>& nodes) const {
    std::sort(nodes.begin(), nodes.end(), [&](Node a, Node b) {
      return std::tuple(rough_start_[a], rough_end(a), a) < std::tuple(rough_start_[b], rough_end(b), b);
    });
  }

  void add_chains() {
    const std::size_t stream_count = problem_.cluster().stream_names().size();
    std::map<std::size_t, std::vector<Node>> streams;
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      if (duration_[t] == 0) continue;  // holds nothing
      for (const DeviceId device : mode(TaskId(t)).devices) {
        for (std::uint32_t mask = problem_.streams(TaskId(t)); mask != 0; mask &= mask - 1) {
          streams[device.index() * stream_count + static_cast<std::size_t>(__builtin_ctz(mask))].push_back(t);
        }
      }
    }
    std::map<std::uint64_t, std::vector<Node>> channels;
    for (std::size_t i = 0; i < transfers_.size(); ++i) {
      const Node node = problem_.task_count() + i;
      if (duration_[node] == 0) continue;
      for (const std::uint64_t key : channels_of(problem_, transfers_[i].source, transfers_[i].destination)) {
        channels[key].push_back(node);
      }
    }
    for (auto& [key, nodes] : streams) chain(nodes);
    for (auto& [key, nodes] : channels) chain(nodes);
  }

  /// Bytes on a device from the first start of `from` to the last end of `until`.
  struct Residence {
    std::vector<Node> from;
    std::vector<Node> until;
  };

  [[nodiscard]] std::vector<Residence> residences_on(DeviceId device) const {
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

  void add_memory_order(DeviceId device) {
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
      const auto next = std::lower_bound(allocations.begin(), allocations.end(), release - rough_.tolerance,
                                         [&](Node node, double time) { return rough_start_[node] < time; });
      if (next == allocations.end()) continue;
      for (const Node node : residence.until) add_end_to_start(node, *next);
    }
  }

  /// Least starts that keep all arcs. All arcs point forward in rough time, so in that order one pass is
  /// enough but for ties; a circle that adds up to more than nothing is a contradiction.
  bool settle() {
    if (!is_complete_) return false;
    std::vector<Node> order(duration_.size());
    std::iota(order.begin(), order.end(), Node{0});
    sort_by_start(order);
    std::vector<std::size_t> rank(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) rank[order[i]] = i;
    std::sort(arcs_.begin(), arcs_.end(), [&](const Arc& a, const Arc& b) {
      return std::tuple(rank[a.from], rank[a.to], a.lag) < std::tuple(rank[b.from], rank[b.to], b.lag);
    });
    std::int64_t most = 0;
    for (const std::int64_t duration : duration_) most += duration;
    start_.assign(duration_.size(), 0);
    for (bool changed = true; changed;) {
      changed = false;
      for (const Arc& arc : arcs_) {
        const std::int64_t least = start_[arc.from] + arc.lag;
        if (start_[arc.to] >= least) continue;
        if (least > most) return false;
        start_[arc.to] = least;
        changed = true;
      }
    }
    return true;
  }

  [[nodiscard]] Schedule assemble() const {
    Schedule schedule;
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      schedule.tasks.push_back({rough_.modes[t], Duration(start_[t])});
    }
    for (std::size_t i = 0; i < transfers_.size(); ++i) {
      const Node node = problem_.task_count() + i;
      schedule.transfers.push_back({transfers_[i].value, transfers_[i].source, transfers_[i].destination,
                                    Duration(start_[node]), Duration(start_[node] + duration_[node])});
    }
    return schedule;
  }

  const Problem& problem_;
  const RoughSchedule& rough_;
  std::vector<RoughSchedule::Transfer> transfers_;
  std::map<std::pair<ValueId, DeviceId>, Node> transfer_of_;
  std::vector<double> rough_start_;
  std::vector<std::int64_t> duration_;
  std::vector<Arc> arcs_;
  std::vector<std::int64_t> start_;
  bool is_complete_ = true;
};

}  // namespace

std::optional<Schedule> retime(const Problem& problem, const RoughSchedule& rough) {
  return Retiming(problem, rough).run();
}

Schedule left_shift(const Problem& problem, const Schedule& schedule) {
  RoughSchedule rough;
  for (const TaskAssignment& task : schedule.tasks) {
    rough.modes.push_back(task.mode);
    rough.starts.push_back(static_cast<double>(task.start.value()));
  }
  for (const Transfer& transfer : schedule.transfers) {
    rough.transfers.push_back(
        {transfer.value, transfer.source, transfer.destination, static_cast<double>(transfer.start.value())});
  }
  const std::optional<Schedule> result = retime(problem, rough);
  if (!result) throw InternalError("schedule to be shifted is not valid");
  return *result;
}

}  // namespace opweave::exact
