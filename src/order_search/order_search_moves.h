/// The accepted order of the search, and changes to it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/random.h"
#include "order_search/order_search_network.h"
#include "order_search/order_search_timing.h"

namespace opweave::order_search {

/// Kinds of change. Each shifts a set of nodes in time; what they depend on, or what depends on them, comes along as
/// far as it must, and the new order follows the shifted times.
enum class Move : std::uint8_t {
  kCriticalEarlier,  ///< a critical node that waits for its resource, before one of those ahead of it there
  kCriticalLater,    ///< a critical node that others wait for, behind one of those after it
  kNode,             ///< any node, either way
  kChunk,            ///< what a device does in one phase of a microbatch
  kMicrobatch,       ///< everything of a microbatch before or after some moment, or for some time
  kSegment,          ///< a microbatch around some moment
  kTimeSpan,         ///< what a device does in one phase during some time, across microbatches
  kTwins,            ///< the same operator in several consecutive microbatches
};
inline constexpr std::size_t kMoveCount = 8;

/// Keeps the accepted order, sorted by start, and proposes others.
class Orders {
 public:
  /// \param starts  by node; the first order follows them.
  Orders(const Network& network, std::span<const Time> starts, std::uint64_t seed);

  /// The accepted order, or the proposed one between propose() and the decision on it.
  [[nodiscard]] std::span<const Node> order() const { return candidate_; }

  /// Changes the order. False if this attempt came to nothing; then order() is as before.
  bool propose(Move move, const Timing& timing);
  /// First position that differs from the accepted order.
  [[nodiscard]] std::size_t first_change() const { return first_; }
  /// Sorts the proposed order by the starts that timing found for it; equal starts keep their order.
  /// False if it was sorted.
  bool sort(const Timing& timing);
  /// Takes the proposed order, which timing has accepted. \pre it is sorted.
  void accept(const Timing& timing);
  void reject();

  Random& random() { return random_; }

 private:
  /// Where a node stands in the order if it starts at this time.
  [[nodiscard]] Time key_at(Node node, Time start) const;
  [[nodiscard]] Time key_of(Node node, const Timing& timing) const { return key_at(node, timing.start(node)); }
  [[nodiscard]] bool leaves_band(Node node) const;
  void mark(Node node, Time key);
  bool pull_predecessors(const Timing& timing);
  bool push_successors(const Timing& timing);
  bool rebuild(const Timing& timing);
  void trace_critical_path(const Timing& timing);
  [[nodiscard]] Node after(Node node, const Timing& timing) const;
  bool shift_before(Node node, const Timing& timing);
  bool shift_behind(Node node, const Timing& timing);
  bool shift_set(Move move, Node around, const Timing& timing);
  void forget_marks();

  const Network& network_;
  Random random_;
  std::vector<Node> accepted_;
  std::vector<Node> candidate_;
  std::vector<std::uint32_t> position_;  ///< in accepted_, by node; kNone for fillers
  std::size_t first_ = 0;
  std::size_t last_ = 0;

  std::vector<Node> marked_;
  std::vector<Node> work_;
  std::vector<char> is_marked_;
  std::vector<Time> key_;

  struct CriticalNode {
    Node node;
    bool waits_for_resource;  ///< rather than for a predecessor
    bool delays_resource;     ///< the next critical node waits for a resource that this one holds
  };
  std::vector<CriticalNode> critical_;
  std::vector<Node> next_;     ///< next on the resource, by node; out of date for the last on a resource
  std::vector<Node> ordered_;  ///< all nodes that have a position
  detail::Lists<Node> chunks_;
  detail::Lists<Node> copies_;
  detail::Lists<Node> twins_;
  double mean_duration_ = 1;
};

}  // namespace opweave::order_search
