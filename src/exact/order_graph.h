/// The orders that a schedule prescribes, as a graph over its tasks and transfers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave::exact {

/// A schedule as a solver with floating-point numbers states it. Times are nanoseconds, right up to
/// `tolerance`; two moments that are closer count as one.
struct RoughSchedule {
  struct Transfer {
    ValueId value;
    DeviceId source;
    DeviceId destination;
    double start = 0;
  };
  std::vector<ModeIndex> modes;  ///< by TaskId
  std::vector<double> starts;    ///< by TaskId
  /// Those that no consumer needs are dropped.
  std::vector<Transfer> transfers;
  double tolerance = 0.25;
};
/// The same schedule, stated roughly.
[[nodiscard]] RoughSchedule rough(const Schedule& schedule);

/// Nodes are tasks, in order of id, then transfers. Arcs say start(to) >= start(from) + lag: what the graph of
/// the problem demands, and the order on each stream and channel.
class OrderGraph {
 public:
  using Node = std::size_t;
  struct Arc {
    Node from;
    Node to;
    std::int64_t lag;  ///< nanoseconds
  };
  static constexpr Node kNone = std::numeric_limits<Node>::max();

  /// \pre `schedule` outlives the graph
  OrderGraph(const Problem& problem, const RoughSchedule& schedule);

  /// False if a transfer is missing, repeated or impossible: then there is nothing to order.
  [[nodiscard]] bool is_complete() const { return is_complete_; }
  [[nodiscard]] std::size_t node_count() const { return duration_.size(); }
  [[nodiscard]] std::int64_t duration(Node node) const { return duration_[node]; }
  [[nodiscard]] double rough_start(Node node) const { return start_[node]; }
  [[nodiscard]] double rough_end(Node node) const { return start_[node] + static_cast<double>(duration_[node]); }
  /// Transfers that are needed; node `task_count + i` is the i-th.
  [[nodiscard]] const std::vector<RoughSchedule::Transfer>& transfers() const { return transfers_; }
  /// Node of the transfer of a value to a device, or kNone.
  [[nodiscard]] Node transfer_node(ValueId value, DeviceId destination) const;
  [[nodiscard]] const std::vector<Arc>& arcs() const { return arcs_; }
  /// By device * streams + stream, then by start: the tasks that hold it for some time.
  [[nodiscard]] const std::vector<std::vector<Node>>& streams() const { return streams_; }

  /// Adds arcs by which the device never holds what it does not hold at some moment of the schedule: the order of
  /// allocations, and of each behind what was released before it.
  void add_memory_order(DeviceId device);

  /// Nodes by start, then end, then number.
  [[nodiscard]] std::vector<Node> by_start() const;
  /// Least starts that keep all arcs; nothing if they contradict each other. All arcs point forward in the
  /// schedule's time, so one pass in that order is enough but for ties.
  [[nodiscard]] std::optional<std::vector<std::int64_t>> earliest_starts();
  /// The schedule with these starts.
  [[nodiscard]] Schedule schedule(const std::vector<std::int64_t>& starts) const;

 private:
  /// Bytes on a device from the first start of `from` to the last end of `until`.
  struct Residence {
    std::vector<Node> from;
    std::vector<Node> until;
  };

  [[nodiscard]] Mode mode(TaskId task) const { return problem_.mode(task, given_.modes[task.index()]); }
  [[nodiscard]] bool runs_on(TaskId task, DeviceId device) const;
  void collect_nodes();
  void add_precedence();
  void add_chains();
  void chain(std::vector<Node>& nodes);
  void sort_by_start(std::vector<Node>& nodes) const;
  void add_end_to_start(Node from, Node to);
  [[nodiscard]] std::vector<Residence> residences_on(DeviceId device) const;

  const Problem& problem_;
  const RoughSchedule& given_;
  bool is_complete_ = true;
  std::vector<RoughSchedule::Transfer> transfers_;
  std::map<std::pair<ValueId, DeviceId>, Node> transfer_of_;
  std::vector<double> start_;
  std::vector<std::int64_t> duration_;
  std::vector<Arc> arcs_;
  std::vector<std::vector<Node>> streams_;
};

}  // namespace opweave::exact
