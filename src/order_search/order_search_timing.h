/// From an order to times: every node as early as its predecessors, its resources and the memory allow.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "order_search/order_search_network.h"

namespace opweave::order_search {

/// What an order costs.
struct Cost {
  Time makespan = 0;
  double value = 0;  ///< makespan plus a share of the mean end of the devices: the slope on a plateau
};

/// Times orders of the nodes that do not fill gaps. Each resource takes its nodes in the order; nodes that fill gaps
/// run where the next node of their resource has to wait anyway, or where memory is needed, or at the end. Memory is
/// counted along the order (docs/order-search.md), so that the times keep every capacity.
///
/// Holds one accepted order with its times and snapshots along it, so that another order is timed from its first
/// difference on.
class Timing {
 public:
  Timing(const Network& network, double mean_end_weight);

  /// Times `order`, which is topological and equals the accepted one before position `first`. False if memory cannot
  /// suffice for it.
  bool evaluate(std::span<const Node> order, std::size_t first);
  /// Makes the order evaluated last the accepted one. \pre evaluate() was true.
  void accept();
  /// Forgets the order evaluated last.
  void reject();

  /// Of the order evaluated last. \pre evaluate() was true.
  [[nodiscard]] const Cost& cost() const { return cost_; }
  [[nodiscard]] Time candidate_start(Node node) const { return end_[node] - hot_[node].duration; }
  /// Nodes whose times the last evaluation computed, in the order in which they ran. \pre evaluate() was true.
  [[nodiscard]] std::span<const Node> timed() const { return sequence_; }

  // Of the accepted order:
  [[nodiscard]] std::span<const Time> ends() const { return accepted_end_; }
  [[nodiscard]] Time start(Node node) const { return accepted_end_[node] - hot_[node].duration; }
  /// Node that ran just before on the resource that became free last; kNone for the first.
  [[nodiscard]] Node previous_on_resource(Node node) const { return accepted_previous_[node]; }

 private:
  struct Hot {
    Time duration = 0;
    std::uint32_t first_predecessor = 0;
    std::uint32_t predecessors = 0;
    std::uint8_t flags = 0;
    std::uint32_t resource = kNone;  ///< the only one; kNone = none or several
  };
  struct Release {
    Time time;
    std::int64_t bytes;
  };
  struct ResourceState {
    Time end = 0;
    Node last = kNone;
    std::uint32_t waiting = 0;  ///< number of its fillers that could run
  };
  struct PoolState {
    std::int64_t free = 0;
    Time ready = 0;  ///< whatever was freed so far had ended by then
    std::uint32_t first_pending = 0;
    std::uint32_t pending = 0;  ///< number of releases of the order that are not yet counted as free
  };
  struct WideHolding {
    std::uint32_t users_left = 0;
    Time end = 0;
  };
  struct Snapshot {
    std::vector<std::uint64_t> words;
    std::size_t rank = 0;  ///< nodes that had run
    Time latest = 0;
  };

  void save(Snapshot& snapshot) const;
  void restore(const Snapshot& snapshot);
  [[nodiscard]] bool has_run(Node node) const { return epoch_of_[node] == epoch_ || rank_[node] < first_rank_; }
  bool run(Node node);
  bool run_before(Node node);
  void fill_gap(std::uint32_t resource, Time until);
  bool run_filler(std::uint32_t resource, std::uint32_t index);
  bool claim_memory(Node node, Time& start);
  bool make_room(std::uint32_t pool, std::int64_t bytes, Node node, Time& start);
  bool run_filler_for(std::uint32_t pool);
  [[nodiscard]] Time resources_free(Node node) const;
  void finish(Node node, Time start);
  void free_used(Node node);
  void free_bytes(std::uint32_t pool, std::int64_t bytes, Time time);
  void wake_fillers(Node node);
  void measure();

  const Network& network_;
  const double mean_end_weight_;
  std::size_t interval_ = 1;  ///< positions between snapshots
  std::vector<Hot> hot_;
  std::vector<std::uint32_t> wide_of_holding_;
  std::vector<std::vector<std::uint32_t>> filler_resources_;  ///< per pool: where fillers that free some of it run
  std::vector<Time> shortest_filler_;                         ///< per resource
  std::vector<Time> device_end_;

  // State between two positions. Lists are kept in arrays of the greatest length they can have.
  std::vector<ResourceState> resources_;
  std::vector<PoolState> pools_;
  std::vector<std::vector<Node>> waiting_;     ///< per resource, oldest first
  std::vector<std::vector<Release>> pending_;  ///< per pool, ascending by time
  std::vector<WideHolding> wide_;
  Time latest_ = 0;
  bool filling_ = false;

  std::vector<Snapshot> snapshots_;
  std::vector<Snapshot> candidate_snapshots_;
  std::size_t first_snapshot_ = 0;
  std::size_t snapshot_count_ = 0;

  std::vector<Time> end_;
  std::vector<Node> previous_;
  std::vector<Node> sequence_;
  std::vector<std::uint32_t> epoch_of_;
  std::uint32_t epoch_ = 0;
  std::size_t first_rank_ = 0;

  std::vector<Time> accepted_end_;
  std::vector<Node> accepted_previous_;
  std::vector<std::uint32_t> rank_;
  Cost cost_;
};

}  // namespace opweave::order_search
