#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "bounds/bound_context.h"

namespace opweave::bounds {
namespace {

__extension__ using Wide = __int128;  // nanoseconds x bytes exceed 64 bits

/// Edges looked at before the bound gives up on a pool: paths from every value are many in large graphs.
constexpr std::size_t kMostSteps = 50'000'000;

/// Least time for which a copy of each value is held: the longest path from a task that takes it to one that uses it.
class Residence {
 public:
  explicit Residence(const Relaxation& relaxation)
      : relaxation_(relaxation), distance_(relaxation.task_count(), kUnreached) {}

  [[nodiscard]] Nanoseconds of(const HeldValue& value) {
    Nanoseconds longest = 0;
    for (const Index first : value.first) {
      const Index source = relaxation_.classes()[first].tasks.front();
      Nanoseconds here = relaxation_.duration(source) + value.trail;
      spread(source, value);
      for (const Index last : value.last) {
        const Index target = relaxation_.classes()[last].tasks.front();
        if (distance_[target] != kUnreached) here = std::max(here, distance_[target] + relaxation_.duration(target));
      }
      for (const Index task : reached_) distance_[task] = kUnreached;
      longest = std::max(longest, here);
    }
    return longest + value.lead;
  }
  [[nodiscard]] std::size_t steps() const { return steps_; }

 private:
  static constexpr Nanoseconds kUnreached = -1;

  /// Least time from the start of the source to the starts of the tasks after it, as far as a user. Ascending ids are
  /// a topological order, and every task between two of a microbatch is of that microbatch.
  void spread(Index source, const HeldValue& value) {
    Index end = source;
    for (const Index last : value.last) end = std::max(end, relaxation_.classes()[last].tasks.front());
    reached_.assign(1, source);
    distance_[source] = 0;
    for (Index task = source; task < end; ++task) {
      if (distance_[task] == kUnreached) continue;
      for (const Edge& edge : relaxation_.after(task)) {
        ++steps_;
        if (edge.task > end) continue;
        if (distance_[edge.task] == kUnreached) reached_.push_back(edge.task);
        distance_[edge.task] =
            std::max(distance_[edge.task], distance_[task] + relaxation_.duration(task) + edge.delay);
      }
    }
  }

  const Relaxation& relaxation_;
  std::vector<Nanoseconds> distance_;
  std::vector<Index> reached_;
  std::size_t steps_ = 0;
};

/// Bytes that can be held from a moment of the interval on; the moments of all copies.
struct Arrival {
  Nanoseconds time;
  std::int64_t bytes;
};

/// Bytes x time that stay empty in an interval because not enough has arrived.
Wide unfilled(std::vector<Arrival> arrivals, std::int64_t capacity, Nanoseconds interval) {
  std::sort(arrivals.begin(), arrivals.end(), [](const Arrival& a, const Arrival& b) { return a.time < b.time; });
  Wide empty = 0;
  std::int64_t missing = capacity;
  Nanoseconds now = 0;
  for (const Arrival& arrival : arrivals) {
    const Nanoseconds until = std::clamp(arrival.time, now, interval);
    empty += Wide{missing} * (until - now);
    now = until;
    missing -= std::min(missing, arrival.bytes);
    if (missing == 0) return empty;
  }
  return empty + Wide{missing} * (interval - now);
}

}  // namespace

std::optional<LowerBound> memory_energy_bound(const BoundContext& context) {
  const Relaxation& relaxation = context.relaxation;
  std::optional<LowerBound> best;
  Residence residence(relaxation);
  for (const MemoryPool& pool : context.pools.pools()) {
    if (!pool.capacity || *pool.capacity <= 0 || pool.kind == MemoryPoolKind::kUnknown || pool.values.empty()) continue;
    Wide energy = 0;
    std::vector<Arrival> at_head;
    std::vector<Arrival> at_tail;
    for (const HeldValue& value : pool.values) {
      if (residence.steps() > kMostSteps || context.budget.expired()) return best;
      energy += Wide{value.bytes} * residence.of(value) * value.count;
      for (Index rank = 0; rank < value.count; ++rank) {
        const auto least = [&](const std::vector<Index>& classes, const Earliest& earliest) {
          Nanoseconds result = std::numeric_limits<Nanoseconds>::max();
          for (const Index c : classes) {
            const TaskClass& task_class = relaxation.classes()[c];
            result = std::min(result, earliest[task_at(task_class, rank)]);
          }
          return result;
        };
        at_head.push_back({std::max<Nanoseconds>(0, least(value.first, context.ends.head) - value.lead), value.bytes});
        Nanoseconds tail = least(value.last, context.ends.tail);
        if (value.trail > 0) tail = std::min(tail, least(value.first, context.ends.tail) - value.trail);
        at_tail.push_back({std::max<Nanoseconds>(0, tail), value.bytes});
      }
    }
    // Intervals that together are no longer than any plan do not overlap.
    const Nanoseconds half = context.known / 2;
    const Wide empty = unfilled(std::move(at_head), *pool.capacity, half) +
                       unfilled(std::move(at_tail), *pool.capacity, context.known - half);
    const auto value = static_cast<Nanoseconds>((energy + empty + *pool.capacity - 1) / *pool.capacity);
    if (best && best->value.value() >= value) continue;
    std::string where = fmt::format("{} devices", pool.devices.size());
    if (pool.devices.size() == 1) {
      where = fmt::format("device \"{}\"", relaxation.problem().cluster().at(pool.devices.front()).name);
    }
    best = {"memory-energy", Duration(value),
            fmt::format("{}: what is kept needs {} bytes for at least {} ns", where, *pool.capacity,
                        static_cast<Nanoseconds>(energy / *pool.capacity))};
  }
  return best;
}

}  // namespace opweave::bounds
