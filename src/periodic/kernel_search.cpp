#include "periodic/kernel_search.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/random.h"
#include "periodic/cyclic_timing.h"

namespace opweave::periodic {
namespace {

/// Temperature at the beginning and at the end of a round, in mean durations of a node.
constexpr double kHottest = 0.5;
constexpr double kColdest = 0.005;
/// Evaluations of a round, for each node.
constexpr std::uint64_t kRound = 60;
/// Cost of all memory held on average, in periods: the slope where many orders share a period.
constexpr double kHeldWeight = 0.3;
/// Of the changes, those of a node on the critical cycle.
constexpr double kCriticalShare = 0.7;
/// How far along its resource a node is moved: one node farther with this chance.
constexpr double kFarther = 0.6;
/// Nodes that one change may move.
constexpr std::size_t kMostMoved = 200;
constexpr int kEvaluationsPerClockReading = 16;

class Search {
 public:
  Search(const Kernel& start, const KernelSearchOptions& options)
      : body_(*start.body), network_(body_.network()), current_(start), random_(options.seed), timing_(start) {
    is_moved_.resize(network_.node_count, 0);
    double total = 0;
    for (const Node node : body_.nodes()) {
      total += static_cast<double>(network_.duration[node]);
      if (!network_.resources[node].empty()) movable_.push_back(node);
    }
    mean_duration_ = std::max(1.0, total / static_cast<double>(std::max<std::size_t>(1, movable_.size())));
  }

  void run(const Budget& budget, std::uint64_t evaluations, const std::function<void(const Kernel&)>& on_improvement) {
    const Time least = least_period(body_);
    if (movable_.size() < 2 || current_.period <= least) return;
    Kernel best = current_;
    double cost = cost_of(current_);
    trace_critical_cycle();
    const double cooling = std::log(kColdest / kHottest);
    const std::uint64_t round = std::min(evaluations, kRound * body_.nodes().size());
    const std::optional<double> seconds = budget.remaining();
    double time_share = 0;
    for (std::uint64_t i = 0; i < evaluations && best.period > least; ++i) {
      if (i % kEvaluationsPerClockReading == 0) {
        if (budget.expired()) return;
        if (seconds && i < round) time_share = 1 - *budget.remaining() / std::max(1e-9, *seconds);
      }
      if (i > 0 && i % round == 0) {
        time_share = 0;  // matters where there is no time for one round
        current_ = best;
        cost = cost_of(current_);
        critical_.clear();
      }
      const double done = std::max(time_share, static_cast<double>(i % round) / static_cast<double>(round));
      const double temperature = mean_duration_ * kHottest * std::exp(cooling * done);
      keys_ = current_.starts;
      const bool changed = change();
      for (const Node node : moved_) is_moved_[node] = 0;
      moved_.clear();
      if (!changed || !timing_.evaluate(keys_, current_.period)) continue;
      Kernel next{current_.body, timing_.growth(), {timing_.starts().begin(), timing_.starts().end()}};
      const double reached = cost_of(next);
      if (reached > cost && random_.unit() >= std::exp((cost - reached) / temperature)) continue;
      cost = reached;
      current_ = std::move(next);
      trace_critical_cycle();
      if (current_.period < best.period && timing_.is_steady() && is_valid(current_)) {
        best = current_;
        on_improvement(best);
      }
    }
  }

 private:
  [[nodiscard]] double cost_of(const Kernel& kernel) const {
    double held = 0;
    for (std::uint32_t h = 0; h < network_.holdings.size(); ++h) {
      const order_search::Holding& holding = network_.holdings[h];
      if (holding.maker == kNone) continue;
      Time end = 0;
      for (const Node user : network_.users[h]) end = std::max(end, kernel.starts[user] + network_.duration[user]);
      held += static_cast<double>(end - kernel.starts[holding.maker]) * static_cast<double>(holding.bytes) /
              static_cast<double>(std::max<std::int64_t>(1, network_.pools[holding.pool].capacity));
    }
    // Held for a period each time: (held / period) x period.
    held /= static_cast<double>(std::max<std::size_t>(1, network_.pools.size()));
    return static_cast<double>(kernel.period) + kHeldWeight * held;
  }

  /// What the slowest node waited for, what that waited for, and so on, until the causes repeat themselves.
  void trace_critical_cycle() {
    critical_.clear();
    Node node = movable_[random_.below(movable_.size())];
    for (std::size_t steps = 0; steps < 2 * movable_.size() && node != kNone; ++steps) {
      const CyclicTiming::Cause& cause = timing_.cause(node);
      if (cause.node == kNone) break;
      if (!cause.is_precedence && !network_.resources[node].empty()) critical_.push_back({node, cause.node});
      node = cause.node;
    }
  }

  bool change() {
    if (!critical_.empty() && random_.unit() < kCriticalShare) {
      const auto& [node, cause] = critical_[random_.below(critical_.size())];
      // Either of the two makes way for the other.
      if (random_.below(2) == 0) return move(node, -1);
      return network_.resources[cause].empty() ? false : move(cause, 1);
    }
    return move(movable_[random_.below(movable_.size())], random_.below(2) == 0 ? -1 : 1);
  }

  /// Before, or behind, one of the nodes that are next to it on a resource.
  bool move(Node node, int direction) {
    const auto resources = network_.resources[node];
    const auto others = body_.on_resource(resources[random_.below(resources.size())]);
    if (others.size() < 2) return false;
    // Starts of the others' repetitions nearest to the node, on the wanted side.
    nearby_.clear();
    for (const Node other : others) {
      if (other == node) continue;
      Time distance = (keys_[other] - keys_[node]) % current_.period;
      if (direction > 0 && distance < 0) distance += current_.period;
      if (direction < 0 && distance > 0) distance -= current_.period;
      nearby_.push_back(distance);
    }
    std::sort(nearby_.begin(), nearby_.end(), [](Time a, Time b) { return std::abs(a) < std::abs(b); });
    std::size_t steps = 0;
    while (steps + 1 < nearby_.size() && random_.unit() < kFarther) ++steps;
    set(node, keys_[node] + nearby_[steps] + direction);
    return direction < 0 ? pull_predecessors() : push_successors();
  }

  void set(Node node, Time key) {
    keys_[node] = key;
    if (is_moved_[node] != 0) return;
    is_moved_[node] = 1;
    moved_.push_back(node);
  }

  bool pull_predecessors() {
    work_ = moved_;
    while (!work_.empty()) {
      const Node node = work_.back();
      work_.pop_back();
      for (const Node before : network_.predecessors[node]) {
        const Time latest = keys_[node] - std::max<Time>(1, network_.duration[before]);
        if (keys_[before] <= latest) continue;
        set(before, latest);
        if (moved_.size() > kMostMoved) return false;
        work_.push_back(before);
      }
    }
    return true;
  }

  bool push_successors() {
    work_ = moved_;
    while (!work_.empty()) {
      const Node node = work_.back();
      work_.pop_back();
      const Time earliest = keys_[node] + std::max<Time>(1, network_.duration[node]);
      for (const Node after : network_.successors[node]) {
        if (keys_[after] >= earliest) continue;
        set(after, earliest);
        if (moved_.size() > kMostMoved) return false;
        work_.push_back(after);
      }
    }
    return true;
  }

  const LoopBody& body_;
  const Network& network_;
  Kernel current_;
  Random random_;
  CyclicTiming timing_;
  std::vector<Node> movable_;
  double mean_duration_ = 1;
  std::vector<Time> keys_;
  std::vector<Time> nearby_;
  std::vector<Node> moved_;
  std::vector<Node> work_;
  std::vector<char> is_moved_;
  std::vector<std::pair<Node, Node>> critical_;
};

}  // namespace

void shorten_period(const Kernel& start, const Budget& budget, const KernelSearchOptions& options,
                    const std::function<void(const Kernel&)>& on_improvement) {
  Search(start, options).run(budget, options.max_evaluations, on_improvement);
}

}  // namespace opweave::periodic
