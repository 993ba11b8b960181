#include "periodic/kernel.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace opweave::periodic {
namespace {

__extension__ using Wide = __int128;  // nanoseconds x bytes exceed 64 bits

constexpr Time kNever = std::numeric_limits<Time>::min();

Time floor_divide(Time value, Time by) { return value / by - (value % by < 0 ? 1 : 0); }

/// Longest chain from the start of `from` to the end of each node; kNever where there is none.
void chains_from(const LoopBody& body, Node from, std::vector<Time>& to_end) {
  const Network& network = body.network();
  std::ranges::fill(to_end, kNever);
  for (const Node node : body.nodes()) {
    Time start = node == from ? 0 : kNever;
    for (const Node before : network.predecessors[node]) start = std::max(start, to_end[before]);
    if (start != kNever) to_end[node] = start + network.duration[node];
  }
}

/// Bytes taken by intervals that repeat every period.
class CircularUse {
 public:
  explicit CircularUse(Time period) : period_(period) {}

  void add(Time begin, Time end, std::int64_t bytes) {
    if (end <= begin) return;
    always_ += (end - begin) / period_ * bytes;
    const Time rest = (end - begin) % period_;
    if (rest == 0) return;
    const Time from = begin - floor_divide(begin, period_) * period_;
    changes_.emplace_back(from, bytes);
    if (from + rest < period_) {
      changes_.emplace_back(from + rest, -bytes);
    } else {
      always_ += bytes;  // from 0 on, until
      changes_.emplace_back(from + rest - period_, -bytes);
    }
  }

  [[nodiscard]] std::int64_t peak() {
    std::sort(changes_.begin(), changes_.end());  // releases before claims of the same moment
    std::int64_t now = always_;
    std::int64_t most = changes_.empty() || changes_.front().first > 0 ? now : std::numeric_limits<std::int64_t>::min();
    for (std::size_t i = 0; i < changes_.size(); ++i) {
      now += changes_[i].second;
      if (i + 1 == changes_.size() || changes_[i + 1].first != changes_[i].first) most = std::max(most, now);
    }
    return most;
  }

 private:
  Time period_;
  std::int64_t always_ = 0;
  std::vector<std::pair<Time, std::int64_t>> changes_;
};

/// First start and last end of what a holding lasts for.
std::pair<Time, Time> lifetime(const Kernel& kernel, std::uint32_t h) {
  const Network& network = kernel.body->network();
  const Node maker = network.holdings[h].maker;
  Time begin = maker == kNone ? std::numeric_limits<Time>::max() : kernel.starts[maker];
  Time end = maker == kNone ? kNever : begin + network.duration[maker];
  for (const Node user : network.users[h]) {
    if (maker == kNone) begin = std::min(begin, kernel.starts[user]);
    end = std::max(end, kernel.starts[user] + network.duration[user]);
  }
  return {begin, end};
}

}  // namespace

Time Kernel::lap(Node node) const { return floor_divide(starts[node], period); }

Time least_period(const LoopBody& body) {
  const Network& network = body.network();
  Time least = 1;
  for (std::size_t resource = 0; resource < network.resource_count; ++resource) {
    Time load = 0;
    for (const Node node : body.on_resource(resource)) load += network.duration[node];
    least = std::max(least, load);
  }
  std::vector<Wide> held(network.pools.size(), 0);
  for (const Node node : body.nodes()) {
    for (const order_search::Claim& claim : network.own_release[node]) {
      held[claim.pool] += static_cast<Wide>(claim.bytes) * network.duration[node];
    }
  }
  std::vector<Time> to_end(network.node_count);
  std::vector<std::vector<std::uint32_t>> made(network.node_count);
  for (std::uint32_t h = 0; h < network.holdings.size(); ++h) {
    const Node maker = network.holdings[h].maker;
    if (maker != kNone) {
      made[maker].push_back(h);
      continue;
    }
    Time longest = 0;  // an input of the graph: as long as its longest user, at least
    for (const Node user : network.users[h]) longest = std::max(longest, network.duration[user]);
    held[network.holdings[h].pool] += static_cast<Wide>(network.holdings[h].bytes) * longest;
  }
  for (const Node maker : body.nodes()) {
    if (made[maker].empty()) continue;
    chains_from(body, maker, to_end);
    for (const std::uint32_t h : made[maker]) {
      Time longest = network.duration[maker];
      for (const Node user : network.users[h]) longest = std::max(longest, to_end[user]);
      held[network.holdings[h].pool] += static_cast<Wide>(network.holdings[h].bytes) * longest;
    }
  }
  for (std::size_t p = 0; p < network.pools.size(); ++p) {
    const std::int64_t capacity = network.pools[p].capacity;
    if (capacity <= 0) continue;
    least = std::max(least, static_cast<Time>((held[p] + capacity - 1) / capacity));
  }
  return least;
}

std::vector<std::int64_t> memory_excess(const Kernel& kernel) {
  const Network& network = kernel.body->network();
  std::vector<CircularUse> use(network.pools.size(), CircularUse(kernel.period));
  for (std::uint32_t h = 0; h < network.holdings.size(); ++h) {
    const auto [begin, end] = lifetime(kernel, h);
    use[network.holdings[h].pool].add(begin, end, network.holdings[h].bytes);
  }
  for (const Node node : kernel.body->nodes()) {
    for (const order_search::Claim& claim : network.own_release[node]) {
      use[claim.pool].add(kernel.starts[node], kernel.starts[node] + network.duration[node], claim.bytes);
    }
  }
  std::vector<std::int64_t> excess;
  for (std::size_t p = 0; p < use.size(); ++p) excess.push_back(use[p].peak() - network.pools[p].capacity);
  return excess;
}

bool fits_in_memory(const Kernel& kernel) {
  return std::ranges::all_of(memory_excess(kernel), [](std::int64_t bytes) { return bytes <= 0; });
}

bool is_valid(const Kernel& kernel) {
  const LoopBody& body = *kernel.body;
  const Network& network = body.network();
  if (kernel.period <= 0) return false;
  for (const Node node : body.nodes()) {
    for (const Node before : network.predecessors[node]) {
      if (kernel.starts[node] < kernel.starts[before] + network.duration[before]) return false;
    }
  }
  std::vector<std::pair<Time, Time>> runs;
  for (std::size_t resource = 0; resource < network.resource_count; ++resource) {
    runs.clear();
    for (const Node node : body.on_resource(resource)) {
      if (network.duration[node] > 0) {
        runs.emplace_back(kernel.phase(node), kernel.phase(node) + network.duration[node]);
      }
    }
    if (runs.empty()) continue;
    std::sort(runs.begin(), runs.end());
    for (std::size_t i = 0; i + 1 < runs.size(); ++i) {
      if (runs[i].second > runs[i + 1].first) return false;
    }
    if (runs.back().second > runs.front().first + kernel.period) return false;
  }
  return fits_in_memory(kernel);
}

}  // namespace opweave::periodic
