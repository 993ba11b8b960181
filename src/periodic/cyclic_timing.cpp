#include "periodic/cyclic_timing.h"

#include <algorithm>
#include <limits>

namespace opweave::periodic {
namespace {

/// Laps after which an order that has not settled is judged by its last one.
constexpr std::size_t kMostLaps = 6;

}  // namespace

CyclicTiming::CyclicTiming(const Kernel& start) : body_(start.body), network_(body_->network()) {
  const std::size_t nodes = network_.node_count;
  sequence_ = body_->nodes();
  lap_.resize(nodes);
  phase_.resize(nodes);
  place_.resize(nodes);
  ends_.resize(kMostLaps * nodes);
  takes_.resize(nodes);
  gives_.resize(nodes);
  resource_end_.resize(network_.resource_count);
  resource_last_.resize(network_.resource_count);
  pools_.resize(network_.pools.size());
  cause_.resize(nodes);
  starts_.resize(nodes);
}

bool CyclicTiming::set_order(std::span<const Time> keys, Time period) {
  period_ = period;
  for (const Node node : body_->nodes()) {
    lap_[node] = keys[node] / period - (keys[node] % period < 0 ? 1 : 0);
    phase_[node] = keys[node] - lap_[node] * period;
  }
  // Ties follow the topological order, which nodes() has and the sort keeps.
  sequence_ = body_->nodes();
  std::stable_sort(sequence_.begin(), sequence_.end(), [&](Node a, Node b) { return phase_[a] < phase_[b]; });
  for (std::size_t i = 0; i < sequence_.size(); ++i) place_[sequence_[i]] = static_cast<std::uint32_t>(i);
  for (const Node node : sequence_) {
    for (const Node before : network_.predecessors[node]) {
      if (!is_before(before, node)) return false;
    }
  }
  now_ = 0;
  std::ranges::fill(resource_end_, std::numeric_limits<Time>::min());
  std::ranges::fill(resource_last_, kNone);
  for (const Node node : sequence_) {
    for (const std::uint32_t resource : network_.resources[node]) {
      resource_end_[resource] = std::max(resource_end_[resource], end_at(-1, node));
      resource_last_[resource] = node;
    }
  }
  return true;
}

bool CyclicTiming::fill_memory() {
  for (std::size_t p = 0; p < pools_.size(); ++p) {
    pools_[p].free = network_.pools[p].capacity;
    pools_[p].ready = std::numeric_limits<Time>::min();
    pools_[p].by = kNone;
    pools_[p].pending.clear();
  }
  for (const Node node : sequence_) {
    takes_[node].clear();
    gives_[node].clear();
  }
  const auto earlier = [&](Node a, Node b) { return is_before(a, b); };
  for (std::uint32_t h = 0; h < network_.holdings.size(); ++h) {
    const order_search::Holding& holding = network_.holdings[h];
    const auto users = network_.users[h];
    const Node last = *std::max_element(users.begin(), users.end(), earlier);
    const Node first = holding.maker != kNone ? holding.maker : *std::min_element(users.begin(), users.end(), earlier);
    takes_[first].push_back(h);
    gives_[last].push_back(h);
    // Copies of earlier laps that are still held when lap 0 begins.
    pools_[holding.pool].free -= holding.bytes * (lap_[last] - lap_[first]);
  }
  return std::ranges::all_of(pools_, [](const PoolState& pool) { return pool.free >= 0; });
}

void CyclicTiming::free_later(std::uint32_t pool, std::int64_t bytes, Time time, Node node) {
  std::vector<Release>& pending = pools_[pool].pending;
  pending.push_back({time, bytes, node});
  for (std::size_t i = pending.size() - 1; i > 0 && pending[i - 1].time > time; --i)
    std::swap(pending[i], pending[i - 1]);
}

bool CyclicTiming::run_lap() {
  for (const Node node : sequence_) {
    Time start = std::numeric_limits<Time>::min();
    Cause cause;
    const auto wait = [&](Time until, Node other, bool is_precedence) {
      if (until <= start) return;
      start = until;
      cause = {other, is_precedence};
    };
    for (const Node before : network_.predecessors[node]) {
      wait(end_at(now_ - (lap_[node] - lap_[before]), before), before, true);
    }
    for (const std::uint32_t resource : network_.resources[node]) {
      wait(resource_end_[resource], resource_last_[resource], false);
    }
    const auto take = [&](std::uint32_t p, std::int64_t bytes) {
      PoolState& pool = pools_[p];
      std::size_t used = 0;
      while (pool.free < bytes) {
        if (used == pool.pending.size()) return false;
        const Release& release = pool.pending[used++];
        pool.free += release.bytes;
        if (release.time > pool.ready) {
          pool.ready = release.time;
          pool.by = release.node;
        }
      }
      pool.pending.erase(pool.pending.begin(), pool.pending.begin() + static_cast<std::ptrdiff_t>(used));
      pool.free -= bytes;
      wait(pool.ready, pool.by, false);
      return true;
    };
    for (const std::uint32_t h : takes_[node]) {
      if (!take(network_.holdings[h].pool, network_.holdings[h].bytes)) return false;
    }
    for (const order_search::Claim& claim : network_.own_release[node]) {
      if (!take(claim.pool, claim.bytes)) return false;
    }
    const Time end = start + network_.duration[node];
    ends_[static_cast<std::size_t>(now_) * network_.node_count + node] = end;
    cause_[node] = cause;
    for (const std::uint32_t resource : network_.resources[node]) {
      resource_end_[resource] = end;
      resource_last_[resource] = node;
    }
    for (const std::uint32_t h : gives_[node]) {
      Time last = end;
      for (const Node user : network_.users[h]) {
        last = std::max(last, end_at(now_ - (lap_[node] - lap_[user]), user));
      }
      free_later(network_.holdings[h].pool, network_.holdings[h].bytes, last, node);
    }
    for (const order_search::Claim& claim : network_.own_release[node]) {
      free_later(claim.pool, claim.bytes, end, node);
    }
  }
  return true;
}

bool CyclicTiming::evaluate(std::span<const Time> keys, Time period) {
  if (!set_order(keys, period) || !fill_memory()) return false;
  is_steady_ = false;
  for (std::size_t i = 0; i < kMostLaps && !is_steady_; ++i) {
    if (!run_lap()) return false;
    growth_ = std::numeric_limits<Time>::min();
    Time least = std::numeric_limits<Time>::max();
    for (const Node node : sequence_) {
      const Time growth = end_at(now_, node) - end_at(now_ - 1, node);
      growth_ = std::max(growth_, growth);
      least = std::min(least, growth);
    }
    is_steady_ = i > 1 && growth_ == least;
    ++now_;
  }
  --now_;
  for (const Node node : sequence_) {
    starts_[node] = end_at(now_, node) - network_.duration[node] - (now_ - lap_[node]) * growth_;
  }
  return growth_ > 0;
}

}  // namespace opweave::periodic
