#include "periodic/modulo_schedule.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>
#include <vector>

#include "core/random.h"

namespace opweave::periodic {
namespace {

/// Times that no sum reaches.
constexpr Time kEarliest = std::numeric_limits<Time>::min() / 4;
constexpr Time kLatest = std::numeric_limits<Time>::max() / 4;
constexpr std::size_t kMostNodes = 2000;
/// Periods that are tried begin within this factor of the least possible.
constexpr double kLongestPeriod = 1.6;
/// How much shorter than the best a period has to be, to be of interest.
constexpr double kShorter = 0.999;
/// A gap beside a node that is shorter than up to this share of the least period is lost, and counts as a delay.
constexpr double kWidestGap = 0.15;

/// What a resource does on a circle of length `period`.
class Circle {
 public:
  explicit Circle(Time period) : period_(period) {}

  [[nodiscard]] bool is_free(Time start, Time duration) const {
    const Time from = phase(start);
    if (!is_free_between(from, std::min(period_, from + duration))) return false;
    return from + duration <= period_ || is_free_between(0, from + duration - period_);
  }
  void occupy(Time start, Time duration) {
    const Time from = phase(start);
    insert(from, std::min(period_, from + duration));
    if (from + duration > period_) insert(0, from + duration - period_);
  }
  /// Runs as [begin, end) within the period, ascending.
  [[nodiscard]] const std::vector<std::pair<Time, Time>>& runs() const { return runs_; }
  [[nodiscard]] Time phase(Time time) const {
    const Time rest = time % period_;
    return rest < 0 ? rest + period_ : rest;
  }
  /// Idle time left before and behind a run, each counted up to `most`. \pre is_free()
  [[nodiscard]] Time gaps(Time start, Time duration, Time most) const {
    Time before = runs_.empty() ? 0 : period_;
    Time behind = before;
    for (const auto& [begin, end] : runs_) {
      before = std::min(before, phase(start - end));
      behind = std::min(behind, phase(begin - start - duration));
    }
    return std::min(before, most) + std::min(behind, most);
  }

 private:
  [[nodiscard]] bool is_free_between(Time from, Time until) const {
    const auto next = std::ranges::upper_bound(runs_, std::pair(from, kLatest));
    if (next != runs_.end() && next->first < until) return false;
    return next == runs_.begin() || std::prev(next)->second <= from;
  }
  void insert(Time from, Time until) {
    if (from < until) runs_.insert(std::ranges::upper_bound(runs_, std::pair(from, until)), {from, until});
  }

  Time period_;
  std::vector<std::pair<Time, Time>> runs_;
};

/// Shares of the memory that are held while each node runs, if a microbatch is alone and never waits.
std::vector<double> held_beside(const LoopBody& body) {
  const Network& network = body.network();
  std::vector<Time> start(network.node_count, 0);
  for (const Node node : body.nodes()) {
    for (const Node before : network.predecessors[node]) {
      start[node] = std::max(start[node], start[before] + network.duration[before]);
    }
  }
  // Changes of what is held, in the order of the starts; what begins and ends with a start counts for it.
  std::vector<Node> by_start(body.nodes());
  std::ranges::stable_sort(by_start, {}, [&](Node node) { return start[node]; });
  std::vector<double> change(by_start.size() + 1, 0);
  const auto first_at = [&](Time time) {
    return std::ranges::lower_bound(by_start, time, {}, [&](Node node) { return start[node]; }) - by_start.begin();
  };
  for (std::uint32_t h = 0; h < network.holdings.size(); ++h) {
    const order_search::Holding& holding = network.holdings[h];
    const Time begin = holding.maker == kNone ? 0 : start[holding.maker];
    Time end = begin;
    for (const Node user : network.users[h]) end = std::max(end, start[user]);
    const double share = static_cast<double>(holding.bytes) /
                         static_cast<double>(std::max<std::int64_t>(1, network.pools[holding.pool].capacity));
    change[static_cast<std::size_t>(first_at(begin))] += share;
    change[static_cast<std::size_t>(first_at(end + 1))] -= share;
  }
  std::vector<double> result(network.node_count, 0);
  double held = 0;
  for (std::size_t i = 0; i < by_start.size(); ++i) {
    held += change[i];
    result[by_start[i]] = held;
  }
  return result;
}

/// Nothing that repeats waits for the node.
bool is_last(const LoopBody& body, Node node) {
  const auto after = body.network().successors[node];
  return std::ranges::none_of(after, [&](Node other) { return body.repeats(other); });
}

/// One try: nodes find their places one by one.
class Placing {
 public:
  Placing(const LoopBody& body, Time period, const std::vector<double>& weight, Time widest_gap)
      : body_(body),
        network_(body.network()),
        period_(period),
        weight_(weight),
        widest_gap_(widest_gap),
        circles_(network_.resource_count, Circle(period)),
        starts_(network_.node_count, 0),
        is_placed_(network_.node_count, 0),
        is_beside_(network_.node_count, 0),
        earliest_(network_.node_count, kEarliest),
        latest_(network_.node_count, kLatest) {}

  /// Starts of all nodes; nothing if one of them finds no room.
  std::optional<std::vector<Time>> run() {
    for (std::size_t placed = 0; placed < body_.nodes().size(); ++placed) {
      const Node node = next();
      find_window(node);
      const std::optional<Time> start = best_start(node);
      if (!start) return std::nullopt;
      place(node, *start);
    }
    return std::move(starts_);
  }

 private:
  /// The heaviest of those beside what is placed; where nothing is, of all.
  [[nodiscard]] Node next() const {
    Node best = kNone;
    const auto is_better = [&](Node node) {
      if (best == kNone || is_beside_[node] != is_beside_[best]) return best == kNone || is_beside_[node] != 0;
      return weight_[node] > weight_[best];
    };
    for (const Node node : body_.nodes()) {
      if (is_placed_[node] == 0 && is_better(node)) best = node;
    }
    return best;
  }

  /// Between what is placed, along chains of what is not.
  void find_window(Node node) {
    for (const Node each : body_.nodes()) {
      earliest_[each] = is_placed_[each] != 0 ? starts_[each] : kEarliest;
      if (is_placed_[each] == 0) {
        for (const Node before : network_.predecessors[each]) {
          if (earliest_[before] == kEarliest) continue;
          earliest_[each] = std::max(earliest_[each], earliest_[before] + network_.duration[before]);
        }
      }
      if (each == node) break;
    }
    const std::vector<Node>& nodes = body_.nodes();
    for (std::size_t i = nodes.size(); i-- > 0;) {
      const Node each = nodes[i];
      latest_[each] = is_placed_[each] != 0 ? starts_[each] : kLatest;
      if (is_placed_[each] == 0) {
        for (const Node after : network_.successors[each]) {
          if (latest_[after] == kLatest) continue;
          latest_[each] = std::min(latest_[each], latest_[after] - network_.duration[each]);
        }
      }
      if (each == node) break;
    }
  }

  /// As near as possible to what is placed: after it, or before where nothing is placed before the node.
  [[nodiscard]] std::optional<Time> best_start(Node node) const {
    const Time duration = network_.duration[node];
    const bool is_after = earliest_[node] != kEarliest;
    const Time wanted = is_after ? earliest_[node] : latest_[node] != kLatest ? latest_[node] : 0;
    std::optional<Time> best;
    Time least = kLatest;
    const auto consider = [&](Time start) {
      if (start < earliest_[node] || start > latest_[node]) return;
      Time cost = std::abs(start - wanted);
      if (cost >= least) return;
      for (const std::uint32_t resource : network_.resources[node]) {
        if (!circles_[resource].is_free(start, duration)) return;
        if (widest_gap_ > 0) cost += circles_[resource].gaps(start, duration, widest_gap_);
      }
      if (cost >= least) return;
      least = cost;
      best = start;
    };
    consider(wanted);
    if (duration == 0) return best;
    for (const std::uint32_t resource : network_.resources[node]) {
      const Circle& circle = circles_[resource];
      for (const auto& [begin, end] : circle.runs()) {
        for (const Time start : {end, begin - duration}) {
          const Time behind = circle.phase(start - wanted);
          consider(is_after || behind == 0 ? wanted + behind : wanted + behind - period_);
        }
      }
    }
    return best;
  }

  void place(Node node, Time start) {
    starts_[node] = start;
    is_placed_[node] = 1;
    if (network_.duration[node] > 0) {
      for (const std::uint32_t resource : network_.resources[node]) {
        circles_[resource].occupy(start, network_.duration[node]);
      }
    }
    for (const Node other : network_.predecessors[node]) is_beside_[other] = 1;
    for (const Node other : network_.successors[node]) is_beside_[other] = 1;
  }

  const LoopBody& body_;
  const Network& network_;
  const Time period_;
  const std::vector<double>& weight_;
  const Time widest_gap_;
  std::vector<Circle> circles_;  // by resource
  std::vector<Time> starts_;
  std::vector<char> is_placed_;
  std::vector<char> is_beside_;  // a node that is placed
  std::vector<Time> earliest_;
  std::vector<Time> latest_;
};

}  // namespace

bool can_be_modulo_scheduled(const LoopBody& body) { return body.nodes().size() <= kMostNodes; }

std::optional<Kernel> modulo_kernel(const std::shared_ptr<const LoopBody>& body, Time below, const Budget& budget,
                                    const ModuloOptions& options) {
  const Time least = least_period(*body);
  const std::vector<double> held = held_beside(*body);
  Random random(options.seed);
  std::optional<Kernel> best;
  std::vector<double> weight = held;
  for (std::uint64_t tries = 0; tries < options.tries && !budget.expired() && below > least; ++tries) {
    const double longest = std::min(kLongestPeriod * static_cast<double>(least), kShorter * static_cast<double>(below));
    const auto period =
        std::max(least, static_cast<Time>(longest - random.unit() * (longest - static_cast<double>(least))));
    // What nobody waits for finds room in many places, so most often it comes last.
    const double noise = random.below(2) == 0 ? 0 : random.unit();
    const double last = random.below(2) == 0 ? 0 : random.unit();
    const double gap = random.below(2) == 0 ? 0 : random.unit() * kWidestGap;
    for (const Node node : body->nodes()) {
      weight[node] = held[node] * (1 + noise * (random.unit() - 0.5)) * (is_last(*body, node) ? last : 1);
    }
    std::optional<std::vector<Time>> starts =
        Placing(*body, period, weight, static_cast<Time>(gap * static_cast<double>(least))).run();
    if (!starts) continue;
    Kernel kernel{body, period, *std::move(starts)};
    if (!fits_in_memory(kernel)) continue;
    below = period;
    best = std::move(kernel);
  }
  return best;
}

}  // namespace opweave::periodic
