#include "order_search/order_search_timing.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace opweave::order_search {
namespace {

enum Flag : std::uint8_t {
  kClaims = 1,       ///< takes memory
  kUses = 2,         ///< frees memory, perhaps
  kWakes = 4,        ///< a filler waits for it
  kAfterFiller = 8,  ///< it waits for a filler
  kSeveral = 16,     ///< occupies several resources
  kFreesAtEnd = 32,  ///< has memory that lasts exactly as long as it runs
  kFiller = 128,     ///< fills gaps
  kFirstUser = 64,   ///< uses an input of the graph, which appears with its first user
};

/// A filler may run into the time of the next node by this share of its duration: a gap slightly too short would
/// otherwise stay empty, and its filler delay somebody else later.
constexpr double kOverrun = 0.3;

/// Holdings with more users than this keep a count of them; for fewer it is faster to ask each.
constexpr std::size_t kWide = 6;

/// Releases of a pool that are kept apart before those of the past are counted as free.
constexpr std::uint32_t kPending = 64;

/// Cost of a snapshot in units of the timing of a node, roughly, to choose how many there are.
constexpr double kSnapshotCost = 0.25;

}  // namespace

Timing::Timing(const Network& network, double mean_end_weight)
    : network_(network), mean_end_weight_(mean_end_weight), hot_(network.node_count) {
  std::size_t ordered = 0;
  std::vector<std::uint32_t> fillers(network.resource_count, 0);
  shortest_filler_.assign(network.resource_count, std::numeric_limits<Time>::max());
  filler_resources_.resize(network.pools.size());
  std::vector<std::uint32_t> releases(network.pools.size(), 0);
  for (Node node = 0; node < network.node_count; ++node) {
    Hot& hot = hot_[node];
    hot.duration = network.duration[node];
    hot.first_predecessor = static_cast<std::uint32_t>(network.predecessors.offsets[node]);
    hot.predecessors = static_cast<std::uint32_t>(network.predecessors[node].size());
    const auto resources = network.resources[node];
    if (resources.size() == 1) hot.resource = resources.front();
    unsigned flags = 0;
    if (resources.size() > 1) flags |= kSeveral;
    if (!network.claims[node].empty()) flags |= kClaims;
    if (!network.used[node].empty()) flags |= kUses;
    if (!network.own_release[node].empty()) flags |= kFreesAtEnd;
    for (const Node later : network.successors[node]) {
      if (network.fills_gaps[later]) flags |= kWakes;
    }
    for (const Node earlier : network.predecessors[node]) {
      if (network.fills_gaps[earlier]) flags |= kAfterFiller;
    }
    for (const std::uint32_t holding : network.used[node]) {
      if (network.holdings[holding].appears_with_first_user) flags |= kFirstUser | kClaims;
      ++releases[network.holdings[holding].pool];
    }
    for (const Claim& claim : network.own_release[node]) ++releases[claim.pool];
    if (network.fills_gaps[node]) flags |= kFiller;
    hot.flags = static_cast<std::uint8_t>(flags);
    if (!network.fills_gaps[node]) {
      ++ordered;
      continue;
    }
    const std::uint32_t resource = resources.front();
    ++fillers[resource];
    shortest_filler_[resource] = std::min(shortest_filler_[resource], hot.duration);
    for (const std::uint32_t holding : network.used[node]) {
      std::vector<std::uint32_t>& list = filler_resources_[network.holdings[holding].pool];
      if (std::ranges::find(list, resource) == list.end()) list.push_back(resource);
    }
  }

  wide_of_holding_.assign(network.holdings.size(), kNone);
  for (std::size_t h = 0; h < network.holdings.size(); ++h) {
    if (network.users[h].size() <= kWide) continue;
    wide_of_holding_[h] = static_cast<std::uint32_t>(wide_.size());
    wide_.push_back({static_cast<std::uint32_t>(network.users[h].size()), 0});
  }
  resources_.resize(network.resource_count);
  for (const Pool& pool : network.pools) pools_.push_back({pool.capacity, 0, 0, 0});
  waiting_.resize(network.resource_count);
  for (std::size_t r = 0; r < network.resource_count; ++r) waiting_[r].resize(fillers[r]);
  pending_.resize(network.pools.size());
  for (std::size_t p = 0; p < network.pools.size(); ++p) {
    if (!network.pools[p].is_serial) pending_[p].resize(releases[p]);
  }
  device_end_.resize(network.device_count + 1);

  const double snapshot_cost =
      kSnapshotCost * static_cast<double>(3 * resources_.size() + 4 * pools_.size() + 2 * wide_.size()) + 20;
  interval_ =
      std::max<std::size_t>(64, static_cast<std::size_t>(std::sqrt(static_cast<double>(ordered) * snapshot_cost)));
  snapshots_.resize(ordered / interval_ + 1);
  candidate_snapshots_.resize(snapshots_.size());
  save(snapshots_.front());

  end_.assign(network.node_count, 0);
  previous_.assign(network.node_count, kNone);
  epoch_of_.assign(network.node_count, 0);
  accepted_end_ = end_;
  accepted_previous_ = previous_;
  rank_.assign(network.node_count, std::numeric_limits<std::uint32_t>::max());
  sequence_.reserve(network.node_count);
}

namespace {

template <class T>
std::uint64_t* put(std::uint64_t* to, const T* from, std::size_t count) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (count > 0) std::memcpy(static_cast<void*>(to), from, count * sizeof(T));
  return to + (count * sizeof(T) + sizeof(std::uint64_t) - 1) / sizeof(std::uint64_t);
}

template <class T>
const std::uint64_t* take(const std::uint64_t* from, T* to, std::size_t count) {
  if (count > 0) std::memcpy(static_cast<void*>(to), from, count * sizeof(T));
  return from + (count * sizeof(T) + sizeof(std::uint64_t) - 1) / sizeof(std::uint64_t);
}

}  // namespace

void Timing::save(Snapshot& snapshot) const {
  std::size_t bytes = resources_.size() * sizeof(ResourceState) + pools_.size() * sizeof(PoolState) +
                      wide_.size() * sizeof(WideHolding);
  for (const ResourceState& resource : resources_) bytes += resource.waiting * sizeof(Node) + sizeof(std::uint64_t);
  for (const PoolState& pool : pools_) bytes += pool.pending * sizeof(Release);
  const std::size_t words = bytes / sizeof(std::uint64_t) + 4;
  if (snapshot.words.size() < words) snapshot.words.resize(words + words / 4);
  std::uint64_t* to = snapshot.words.data();
  to = put(to, resources_.data(), resources_.size());
  to = put(to, pools_.data(), pools_.size());
  to = put(to, wide_.data(), wide_.size());
  for (std::size_t r = 0; r < resources_.size(); ++r) to = put(to, waiting_[r].data(), resources_[r].waiting);
  for (std::size_t p = 0; p < pools_.size(); ++p)
    to = put(to, pending_[p].data() + pools_[p].first_pending, pools_[p].pending);
  snapshot.rank = first_rank_ + sequence_.size();
  snapshot.latest = latest_;
}

void Timing::restore(const Snapshot& snapshot) {
  const std::uint64_t* from = snapshot.words.data();
  from = take(from, resources_.data(), resources_.size());
  from = take(from, pools_.data(), pools_.size());
  from = take(from, wide_.data(), wide_.size());
  for (std::size_t r = 0; r < resources_.size(); ++r) from = take(from, waiting_[r].data(), resources_[r].waiting);
  for (std::size_t p = 0; p < pools_.size(); ++p) {
    pools_[p].first_pending = 0;
    from = take(from, pending_[p].data(), pools_[p].pending);
  }
  first_rank_ = snapshot.rank;
  latest_ = snapshot.latest;
}

bool Timing::evaluate(std::span<const Node> order, std::size_t first) {
  if (++epoch_ == 0) {
    std::ranges::fill(epoch_of_, 0);
    epoch_ = 1;
  }
  first_snapshot_ = first / interval_;
  restore(snapshots_[first_snapshot_]);
  sequence_.clear();
  std::size_t next_snapshot = first_snapshot_ + 1;
  std::size_t boundary = next_snapshot * interval_;
  for (std::size_t position = first_snapshot_ * interval_; position < order.size(); ++position) {
    if (position == boundary) {
      save(candidate_snapshots_[next_snapshot]);
      ++next_snapshot;
      boundary += interval_;
    }
    if (!run(order[position])) return false;
  }
  snapshot_count_ = next_snapshot;
  for (std::uint32_t r = 0; r < resources_.size(); ++r) {
    while (resources_[r].waiting > 0) {
      if (!run_filler(r, 0)) return false;
    }
  }
  if (first_rank_ + sequence_.size() != network_.node_count) return false;
  measure();
  return true;
}

void Timing::accept() {
  std::size_t rank = first_rank_;
  for (const Node node : sequence_) {
    rank_[node] = static_cast<std::uint32_t>(rank++);
    accepted_end_[node] = end_[node];
    accepted_previous_[node] = previous_[node];
  }
  for (std::size_t i = first_snapshot_ + 1; i < snapshot_count_; ++i) std::swap(snapshots_[i], candidate_snapshots_[i]);
}

void Timing::reject() { std::memcpy(end_.data(), accepted_end_.data(), end_.size() * sizeof(Time)); }

Time Timing::resources_free(Node node) const {
  const Hot& hot = hot_[node];
  if (hot.resource != kNone) return resources_[hot.resource].end;
  Time free = 0;
  if ((hot.flags & kSeveral) != 0) {
    for (const std::uint32_t resource : network_.resources[node]) free = std::max(free, resources_[resource].end);
  }
  return free;
}

bool Timing::run(Node node) {
  const Hot& hot = hot_[node];
  if ((hot.flags & kAfterFiller) != 0 && !run_before(node)) return false;
  Time start = 0;
  const Node* predecessor = network_.predecessors.items.data() + hot.first_predecessor;
  for (std::uint32_t i = 0; i < hot.predecessors; ++i) start = std::max(start, end_[predecessor[i]]);
  if (hot.resource != kNone) {
    const ResourceState& resource = resources_[hot.resource];
    if (resource.waiting > 0 && resource.end < start) fill_gap(hot.resource, start);
  } else if ((hot.flags & kSeveral) != 0) {
    for (const std::uint32_t resource : network_.resources[node]) {
      if (resources_[resource].waiting > 0 && resources_[resource].end < start) fill_gap(resource, start);
    }
  }
  start = std::max(start, resources_free(node));
  if ((hot.flags & kClaims) != 0 && !claim_memory(node, start)) return false;
  finish(node, start);
  return true;
}

/// Runs the fillers that `node` waits for.
bool Timing::run_before(Node node) {
  for (const Node earlier : network_.predecessors[node]) {
    if (has_run(earlier)) continue;
    const std::uint32_t resource = hot_[earlier].resource;
    if (!network_.fills_gaps[earlier] || resource == kNone) return false;
    const auto begin = waiting_[resource].begin();
    const auto end = begin + resources_[resource].waiting;
    const auto found = std::find(begin, end, earlier);
    if (found == end || !run_filler(resource, static_cast<std::uint32_t>(found - begin))) return false;
  }
  return true;
}

void Timing::fill_gap(std::uint32_t resource, Time until) {
  ResourceState& state = resources_[resource];
  const auto too_short = [&](Time from, Time duration) {
    return from + duration > until + static_cast<Time>(kOverrun * static_cast<double>(duration));
  };
  while (state.waiting > 0 && state.end < until && !too_short(state.end, shortest_filler_[resource])) {
    std::uint32_t index = 0;
    for (; index < state.waiting; ++index) {
      const Node filler = waiting_[resource][index];
      const Hot& hot = hot_[filler];
      Time start = state.end;
      const Node* predecessor = network_.predecessors.items.data() + hot.first_predecessor;
      for (std::uint32_t i = 0; i < hot.predecessors; ++i) start = std::max(start, end_[predecessor[i]]);
      if (start >= until || too_short(start, hot.duration)) continue;
      // One that takes memory waits for a quieter moment.
      if ((hot.flags & kClaims) != 0 && std::ranges::any_of(network_.claims[filler], [&](const Claim& claim) {
            return pools_[claim.pool].free < claim.bytes || pools_[claim.pool].ready > start;
          })) {
        continue;
      }
      break;
    }
    if (index == state.waiting || !run_filler(resource, index)) return;
  }
}

bool Timing::run_filler(std::uint32_t resource, std::uint32_t index) {
  ResourceState& state = resources_[resource];
  std::vector<Node>& waiting = waiting_[resource];
  const Node filler = waiting[index];
  std::copy(waiting.begin() + index + 1, waiting.begin() + state.waiting, waiting.begin() + index);
  --state.waiting;
  const Hot& hot = hot_[filler];
  Time start = state.end;
  const Node* predecessor = network_.predecessors.items.data() + hot.first_predecessor;
  for (std::uint32_t i = 0; i < hot.predecessors; ++i) start = std::max(start, end_[predecessor[i]]);
  if ((hot.flags & kClaims) != 0) {
    // Fillers never make room for each other: that could go round in circles.
    const bool outer = filling_;
    filling_ = true;
    const bool fits = claim_memory(filler, start);
    filling_ = outer;
    if (!fits) return false;
  }
  finish(filler, start);
  return true;
}

bool Timing::claim_memory(Node node, Time& start) {
  for (const Claim& claim : network_.claims[node]) {
    if (!make_room(claim.pool, claim.bytes, node, start)) return false;
  }
  if ((hot_[node].flags & kFirstUser) == 0) return true;
  for (const std::uint32_t h : network_.used[node]) {
    const Holding& holding = network_.holdings[h];
    if (!holding.appears_with_first_user) continue;
    const bool is_first = wide_of_holding_[h] != kNone
                              ? wide_[wide_of_holding_[h]].users_left == network_.users[h].size()
                              : std::ranges::none_of(network_.users[h], [&](Node user) { return has_run(user); });
    if (is_first && !make_room(holding.pool, holding.bytes, node, start)) return false;
  }
  return true;
}

/// Takes bytes from a pool. What the order has freed but counts as pending is free from its end on, so that the
/// start may have to wait; fillers that free memory run before that.
bool Timing::make_room(std::uint32_t pool, std::int64_t bytes, Node node, Time& start) {
  PoolState& state = pools_[pool];
  const std::vector<Release>& pending = pending_[pool];
  const auto take_earliest = [&] {
    const Release& release = pending[state.first_pending++];
    --state.pending;
    state.free += release.bytes;
    state.ready = std::max(state.ready, release.time);
  };
  while (state.free < bytes) {
    const bool is_past = state.pending > 0 && pending[state.first_pending].time <= start;
    if (!is_past && !filling_ && run_filler_for(pool)) {
      start = std::max(start, resources_free(node));
      continue;
    }
    if (state.pending == 0) return false;
    take_earliest();
  }
  state.free -= bytes;
  start = std::max(start, state.ready);
  // A long list is dear to keep: what ended before now is as good as free.
  if (state.pending > kPending) {
    while (state.pending > kPending / 2 && pending[state.first_pending].time <= start) take_earliest();
  }
  return true;
}

/// Runs the oldest filler that frees, alone or with others of its age, some of the pool.
bool Timing::run_filler_for(std::uint32_t pool) {
  for (const std::uint32_t resource : filler_resources_[pool]) {
    for (std::uint32_t index = 0; index < resources_[resource].waiting; ++index) {
      const auto frees = [&](std::uint32_t holding) { return network_.holdings[holding].pool == pool; };
      if (std::ranges::any_of(network_.used[waiting_[resource][index]], frees)) return run_filler(resource, index);
    }
  }
  return false;
}

void Timing::finish(Node node, Time start) {
  const Hot& hot = hot_[node];
  const Time end = start + hot.duration;
  end_[node] = end;
  latest_ = std::max(latest_, end);
  epoch_of_[node] = epoch_;
  sequence_.push_back(node);
  if (hot.resource != kNone) {
    ResourceState& resource = resources_[hot.resource];
    previous_[node] = resource.last;
    resource.end = end;
    resource.last = node;
  } else if ((hot.flags & kSeveral) != 0) {
    Time latest = -1;
    for (const std::uint32_t r : network_.resources[node]) {
      if (resources_[r].last != kNone && resources_[r].end > latest) {
        latest = resources_[r].end;
        previous_[node] = resources_[r].last;
      }
      resources_[r].end = end;
      resources_[r].last = node;
    }
    if (latest < 0) previous_[node] = kNone;
  }
  if ((hot.flags & kUses) != 0) free_used(node);
  if ((hot.flags & kFreesAtEnd) != 0) {
    for (const Claim& claim : network_.own_release[node]) free_bytes(claim.pool, claim.bytes, end);
  }
  if ((hot.flags & kWakes) != 0) wake_fillers(node);
}

void Timing::free_used(Node node) {
  for (const std::uint32_t h : network_.used[node]) {
    const Holding& holding = network_.holdings[h];
    Time end = end_[node];
    if (const std::uint32_t w = wide_of_holding_[h]; w != kNone) {
      wide_[w].end = std::max(wide_[w].end, end);
      if (--wide_[w].users_left > 0) continue;
      end = wide_[w].end;
    } else {
      bool is_last = true;
      for (const Node user : network_.users[h]) {
        is_last = is_last && has_run(user);
        end = std::max(end, end_[user]);
      }
      if (!is_last) continue;
    }
    free_bytes(holding.pool, holding.bytes, end);
  }
}

void Timing::free_bytes(std::uint32_t pool, std::int64_t bytes, Time time) {
  PoolState& state = pools_[pool];
  if (network_.pools[pool].is_serial) {
    state.free += bytes;
    return;
  }
  std::vector<Release>& pending = pending_[pool];
  std::uint32_t i = state.first_pending + state.pending++;
  for (; i > state.first_pending && pending[i - 1].time > time; --i) pending[i] = pending[i - 1];
  pending[i] = {time, bytes};
}

void Timing::wake_fillers(Node node) {
  for (const Node later : network_.successors[node]) {
    const Hot& hot = hot_[later];
    if ((hot.flags & kFiller) == 0) continue;
    if (hot.predecessors > 1 &&
        !std::ranges::all_of(network_.predecessors[later], [this](Node earlier) { return has_run(earlier); })) {
      continue;
    }
    ResourceState& resource = resources_[hot.resource];
    waiting_[hot.resource][resource.waiting++] = later;
  }
}

void Timing::measure() {
  cost_.makespan = latest_;
  std::ranges::fill(device_end_, 0);
  for (std::size_t r = 0; r < resources_.size(); ++r) {
    Time& end = device_end_[network_.resource_device[r]];
    end = std::max(end, resources_[r].end);
  }
  double sum = 0;
  for (std::size_t d = 0; d < network_.device_count; ++d) sum += static_cast<double>(device_end_[d]);
  cost_.value = static_cast<double>(latest_) +
                mean_end_weight_ * sum / static_cast<double>(std::max<std::size_t>(1, network_.device_count));
}

}  // namespace opweave::order_search
