#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include "periodic/kernel.h"

namespace opweave::periodic {
namespace {

/// Edges that are loosened before the order is given up, or one per node if that is more: an order that needs so many
/// is far from any kernel of this period.
constexpr std::size_t kMostTurns = 200;

/// Difference constraints on the phases of a kernel whose cyclic orders are given. A positive cycle among them always
/// has an edge of precedence on it (unless a resource alone is overloaded); the node at its end is put off to the next
/// lap, with all that depends on it, which loosens that edge by a period and tightens none.
class CyclicOrder {
 public:
  CyclicOrder(std::shared_ptr<const LoopBody> body, std::span<const Time> starts, Time period)
      : body_(std::move(body)), network_(body_->network()), period_(period) {
    kernel_ = {body_, period, std::vector<Time>(starts.begin(), starts.end())};
    lap_.resize(network_.node_count, 0);
    phase_.resize(network_.node_count, 0);
    for (const Node node : body_->nodes()) {
      lap_[node] = kernel_.lap(node);
      phase_[node] = kernel_.phase(node);
    }
    first_phase_ = phase_;
    parent_.resize(network_.node_count, kNone);
    by_precedence_.resize(network_.node_count, false);
    is_late_.resize(network_.node_count, 0);
    seen_.resize(network_.node_count, 0);
    order_resources();
  }

  std::optional<Kernel> solve() {
    const std::size_t most = std::max(kMostTurns, body_->nodes().size());
    for (std::size_t turn = 0; turn < most; ++turn) {
      const Node on_cycle = relax();
      if (on_cycle == kNone) return finish();
      if (!loosen(on_cycle)) return std::nullopt;
    }
    return std::nullopt;
  }

 private:
  struct Follower {
    Node before;
    Node after;
    Time lag;  ///< phase of `after` >= phase of `before` + lag
  };

  void order_resources() {
    std::vector<std::uint32_t> place(network_.node_count, 0);
    for (std::size_t i = 0; i < body_->nodes().size(); ++i) place[body_->nodes()[i]] = static_cast<std::uint32_t>(i);
    std::vector<Node> list;
    for (std::size_t resource = 0; resource < network_.resource_count; ++resource) {
      const auto nodes = body_->on_resource(resource);
      list.assign(nodes.begin(), nodes.end());
      std::erase_if(list, [&](Node node) { return network_.duration[node] == 0; });
      if (list.empty()) continue;
      std::sort(list.begin(), list.end(), [&](Node a, Node b) {
        return std::tuple(phase_[a], network_.duration[a], place[a]) <
               std::tuple(phase_[b], network_.duration[b], place[b]);
      });
      for (std::size_t i = 0; i + 1 < list.size(); ++i) {
        followers_.push_back({list[i], list[i + 1], network_.duration[list[i]]});
      }
      followers_.push_back({list.back(), list.front(), network_.duration[list.back()] - period_});
    }
  }

  /// Raises the phases as far as the constraints ask. kNone if all hold, else a node on a positive cycle.
  Node relax() {
    phase_ = first_phase_;
    std::ranges::fill(parent_, kNone);
    for (std::size_t pass = 0;; ++pass) {
      bool changed = false;
      const auto raise = [&](Node before, Node after, Time lag, bool by_precedence) {
        if (phase_[after] >= phase_[before] + lag) return;
        phase_[after] = phase_[before] + lag;
        parent_[after] = before;
        by_precedence_[after] = by_precedence;
        changed = true;
      };
      for (const Follower& follower : followers_) raise(follower.before, follower.after, follower.lag, false);
      for (const Node node : body_->nodes()) {
        for (const Node before : network_.predecessors[node]) {
          raise(before, node, network_.duration[before] + period_ * (lap_[before] - lap_[node]), true);
        }
      }
      if (!changed) return kNone;
      constexpr std::size_t kPassesPerLook = 4;
      if (pass % kPassesPerLook == kPassesPerLook - 1) {
        if (const Node node = find_cycle(); node != kNone) return node;
      }
    }
  }

  /// A cycle of parents is a positive cycle of constraints.
  Node find_cycle() {
    std::ranges::fill(seen_, 0);
    std::uint32_t walk = 0;
    for (const Node from : body_->nodes()) {
      ++walk;
      Node node = from;
      for (; node != kNone && seen_[node] == 0; node = parent_[node]) seen_[node] = walk;
      if (node != kNone && seen_[node] == walk) return node;
    }
    return kNone;
  }

  /// Puts off what loosens an edge of the cycle at the least cost of memory. False if there is no such edge.
  bool loosen(Node on_cycle) {
    Node best = kNone;
    double least = std::numeric_limits<double>::infinity();
    Node node = on_cycle;
    do {
      if (by_precedence_[node]) {
        if (const double cost = cost_of_delay(node); cost < least) {
          least = cost;
          best = node;
        }
      }
      node = parent_[node];
    } while (node != on_cycle);
    if (best == kNone) return false;
    mark_late(best);
    for (const Node late : late_) ++lap_[late];
    return true;
  }

  void mark_late(Node first) {
    for (const Node node : late_) is_late_[node] = 0;
    late_.assign(1, first);
    is_late_[first] = 1;
    for (std::size_t i = 0; i < late_.size(); ++i) {
      for (const Node after : network_.successors[late_[i]]) {
        if (is_late_[after] != 0) continue;
        is_late_[after] = 1;
        late_.push_back(after);
      }
    }
  }

  /// Shares of the capacities that are held for a period longer if the node and all that depends on it come later.
  double cost_of_delay(Node first) {
    mark_late(first);
    double cost = 1e-9 * static_cast<double>(late_.size());
    for (const Node node : late_) {
      for (const std::uint32_t h : network_.used[node]) {
        const order_search::Holding& holding = network_.holdings[h];
        if (holding.maker != kNone && is_late_[holding.maker] != 0) continue;
        const double users = static_cast<double>(network_.users[h].size());
        cost += static_cast<double>(holding.bytes) / users /
                static_cast<double>(std::max<std::int64_t>(1, network_.pools[holding.pool].capacity));
      }
    }
    return cost;
  }

  /// Laps were only ever put off; where that turned out to be unnecessary, nodes come back.
  Kernel finish() {
    for (const Node node : body_->nodes()) {
      Time ready = std::numeric_limits<Time>::min();
      for (const Node before : network_.predecessors[node]) {
        ready = std::max(ready, kernel_.starts[before] + network_.duration[before]);
      }
      Time start = phase_[node] + period_ * lap_[node];
      if (ready != std::numeric_limits<Time>::min()) start -= (start - ready) / period_ * period_;
      kernel_.starts[node] = start;
    }
    return kernel_;
  }

  std::shared_ptr<const LoopBody> body_;
  const Network& network_;
  const Time period_;
  Kernel kernel_;
  std::vector<Time> lap_;
  std::vector<Time> first_phase_;
  std::vector<Time> phase_;
  std::vector<Follower> followers_;
  std::vector<Node> parent_;         ///< by whom the phase was raised last
  std::vector<bool> by_precedence_;  ///< rather than by the order of a resource
  std::vector<std::uint32_t> seen_;
  std::vector<Node> late_;
  std::vector<char> is_late_;
};

}  // namespace

std::optional<Kernel> kernel_from_order(std::shared_ptr<const LoopBody> body, std::span<const Time> starts,
                                        Time period) {
  return CyclicOrder(std::move(body), starts, period).solve();
}

}  // namespace opweave::periodic
