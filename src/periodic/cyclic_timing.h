/// From a cyclic order to its period: laps one after the other, each node as early as it can be.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "periodic/kernel.h"

namespace opweave::periodic {

/// Times the order in which a kernel has its nodes - by phase within a lap, laps one after the other - the way
/// order_search::Timing times the order of a whole iteration: as early as predecessors, resources and memory allow,
/// with memory counted along the order.
class CyclicTiming {
 public:
  explicit CyclicTiming(const Kernel& start);

  /// Repeats the order of `keys` (starts of nodes, any times that precedence allows) at distance `period`.
  /// False if the memory cannot suffice for it.
  bool evaluate(std::span<const Time> keys, Time period);

  // Of the order evaluated last:
  /// Growth of the slowest node from the last but one to the last lap; the period if is_steady().
  [[nodiscard]] Time growth() const { return growth_; }
  [[nodiscard]] bool is_steady() const { return is_steady_; }
  /// Starts of repetition 0, as the last lap has them.
  [[nodiscard]] std::span<const Time> starts() const { return starts_; }
  /// What a node waited for in the last lap: the end of another; kNone for nothing.
  struct Cause {
    Node node = kNone;
    bool is_precedence = false;
  };
  [[nodiscard]] const Cause& cause(Node node) const { return cause_[node]; }

 private:
  struct Release {
    Time time;
    std::int64_t bytes;
    Node node;
  };
  struct PoolState {
    std::int64_t free = 0;
    Time ready = 0;
    Node by = kNone;
    std::vector<Release> pending;  ///< ascending by time
  };

  bool set_order(std::span<const Time> keys, Time period);
  /// In the order, for one repetition.
  [[nodiscard]] bool is_before(Node a, Node b) const {
    return lap_[a] != lap_[b] ? lap_[a] < lap_[b] : place_[a] < place_[b];
  }
  bool fill_memory();
  bool run_lap();
  /// Laps before the first that runs have the times of the keys.
  [[nodiscard]] Time end_at(std::int64_t lap, Node node) const {
    if (lap >= 0) return ends_[static_cast<std::size_t>(lap) * network_.node_count + node];
    return phase_[node] + network_.duration[node] + lap * period_;
  }
  void free_later(std::uint32_t pool, std::int64_t bytes, Time time, Node node);

  std::shared_ptr<const LoopBody> body_;
  const Network& network_;
  std::vector<Node> sequence_;
  std::vector<std::int64_t> lap_;                  ///< by node
  std::vector<Time> phase_;                        ///< by node
  std::vector<std::uint32_t> place_;               ///< in the sequence, by node
  std::vector<std::vector<std::uint32_t>> takes_;  ///< by node: holdings that begin with it
  std::vector<std::vector<std::uint32_t>> gives_;  ///< by node: holdings whose last user it is
  std::int64_t now_ = 0;                           ///< lap that runs
  Time period_ = 1;                                ///< of what was before the first lap that runs
  std::vector<Time> ends_;                         ///< of the laps that run, node_count each
  std::vector<Time> resource_end_;
  std::vector<Node> resource_last_;
  std::vector<PoolState> pools_;
  std::vector<Cause> cause_;
  std::vector<Time> starts_;
  Time growth_ = 0;
  bool is_steady_ = false;
};

}  // namespace opweave::periodic
