#include "bounds/earliest.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

namespace opweave::bounds {
namespace {

std::span<const Edge> edges_into(const Relaxation& r, Direction direction, Index task) {
  return direction == Direction::kForward ? r.before(task) : r.after(task);
}

/// Longest path to a task from what comes before it in the direction's time.
Nanoseconds after_predecessors(const Relaxation& r, Direction direction, const Earliest& earliest, Index task) {
  Nanoseconds longest = 0;
  for (const Edge& edge : edges_into(r, direction, task)) {
    longest = std::max(longest, earliest[edge.task] + r.duration(edge.task) + edge.delay);
  }
  const std::vector<Index>& copies = r.classes()[r.class_of(task)].tasks;
  const Index rank = r.rank(task);
  const bool first = direction == Direction::kForward ? rank == 0 : rank + 1 == copies.size();
  if (!first) {
    const Index previous = copies[direction == Direction::kForward ? rank - 1 : rank + 1];
    longest = std::max(longest, earliest[previous] + r.duration(previous));
  }
  return longest;
}

/// Visits the classes whose tasks must all have ended before the value is released, in the
/// direction's time, with the time that it stays beyond.
template <class Visit>
void for_each_closer(const HeldValue& value, Direction direction, Visit visit) {
  if (direction == Direction::kBackward) {
    for (const Index c : value.first) visit(c, value.lead);
    return;
  }
  for (const Index c : value.last) visit(c, Nanoseconds{0});
  if (value.trail > 0) visit(value.first.front(), value.trail);
}

/// Visits tasks so that what comes before in the direction's time is visited before.
template <class Visit>
void for_each_in_order(const Relaxation& r, Direction direction, Visit visit) {
  const auto count = static_cast<Index>(r.task_count());
  for (Index i = 0; i < count; ++i) visit(direction == Direction::kForward ? i : count - 1 - i);
}

/// Earliest moments at which the copies of a pool's values can be released, kept up to date while
/// tasks get their final earliest times. Before that, longest paths count, which are never too late.
class Releases {
 public:
  Releases(const Relaxation& r, const MemoryPools& pools, Direction direction, const Earliest& paths)
      : r_(r), direction_(direction), closed_by_(r.classes().size()) {
    const std::vector<MemoryPool>& all = pools.pools();
    first_.resize(all.size());
    for (Index i = 0; i < all.size(); ++i) {
      for (Index v = 0; v < all[i].values.size(); ++v) {
        const HeldValue& value = all[i].values[v];
        const auto first = static_cast<Index>(moments_.size());
        first_[i].push_back(first);
        for (Index rank = 0; rank < value.count; ++rank) {
          moments_.push_back(earliest_release(r, value, rank, direction, paths));
        }
        for_each_closer(value, direction, [&](Index c, Nanoseconds delay) {
          closed_by_[c].push_back({first, value.count, delay});
        });
      }
    }
  }

  /// Of the first copy of a value; those of later ranks follow.
  [[nodiscard]] const Nanoseconds* of(Index pool, Index value) const { return &moments_[first_[pool][value]]; }

  void settle(Index task, Nanoseconds end) {
    const Index c = r_.class_of(task);
    const auto copies = static_cast<Index>(r_.classes()[c].tasks.size());
    const Index rank = direction_ == Direction::kForward ? r_.rank(task) : copies - 1 - r_.rank(task);
    for (const Closing& closing : closed_by_[c]) {
      // A task that runs once closes all copies.
      const bool one = copies == closing.count;
      for (Index i = one ? rank : 0; i < (one ? rank + 1 : closing.count); ++i) {
        moments_[closing.first + i] = std::max(moments_[closing.first + i], end + closing.delay);
      }
    }
  }

 private:
  struct Closing {
    Index first;
    Index count;
    Nanoseconds delay;
  };
  const Relaxation& r_;
  const Direction direction_;
  std::vector<Nanoseconds> moments_;
  std::vector<std::vector<Index>> first_;        // by pool, value
  std::vector<std::vector<Closing>> closed_by_;  // by class
};

/// The memory that one member of a pool waits for, asked for its copies in order.
class Waiting {
 public:
  /// Prepares for a member; keeps its storage.
  void begin(const Relaxation& r, const Releases& releases, const MemoryPool& pool, Index pool_index,
             std::size_t member, Direction direction) {
    capacity_ = *pool.capacity;
    copies_ = static_cast<Index>(r.classes()[pool.members[member]].tasks.size());
    states_.clear();
    total_ = single_ = per_copy_ = released_ = 0;
    const bool forward = direction == Direction::kForward;
    const auto* takes = (forward ? pool.taken : pool.kept).data() + member * pool.words;
    const auto* keeps = (forward ? pool.kept : pool.taken).data() + member * pool.words;
    for (std::size_t w = 0; w < pool.words; ++w) {
      for (std::uint64_t bits = takes[w]; bits != 0; bits &= bits - 1) {
        const auto v = static_cast<Index>(64 * w + static_cast<std::size_t>(__builtin_ctzll(bits)));
        const HeldValue& value = pool.values[v];
        const bool kept = (keeps[w] & bits & ~(bits - 1)) != 0;
        // The member's own copy cannot be released before it has run; one that runs once follows all copies.
        const Index kept_copies = !kept ? 0 : (copies_ == 1 ? value.count : 1);
        states_.push_back({releases.of(pool_index, v), value.bytes, value.count, kept_copies, 0});
        total_ += value.bytes * value.count;
        (value.count == 1 ? single_ : per_copy_) += value.bytes;
      }
    }
  }

  /// Earliest moment, not before `floor`, at which the member's copy of `rank` (in the direction's
  /// time) finds memory; nothing if what must be held at once exceeds the capacity. Neither rank nor
  /// floor may decrease between calls.
  std::optional<Nanoseconds> earliest(Index rank, Nanoseconds floor) {
    const std::int64_t taken = copies_ == 1 ? total_ : single_ + per_copy_ * (static_cast<std::int64_t>(rank) + 1);
    if (taken - released_ <= capacity_) return floor;
    queue_.clear();
    for (Index i = 0; i < states_.size(); ++i) {
      State& state = states_[i];
      const Index limit = releasable(state, rank);
      for (; state.released < limit && state.moments[state.released] <= floor; ++state.released) {
        released_ += state.bytes;
      }
      if (state.released < limit) queue_.push_back({state.moments[state.released], i});
    }
    if (taken - released_ <= capacity_) return floor;
    std::make_heap(queue_.begin(), queue_.end(), std::greater<>());
    while (taken - released_ > capacity_) {
      if (queue_.empty()) return std::nullopt;
      std::pop_heap(queue_.begin(), queue_.end(), std::greater<>());
      const auto [moment, i] = queue_.back();
      queue_.pop_back();
      State& state = states_[i];
      floor = std::max(floor, moment);
      released_ += state.bytes;
      ++state.released;
      if (state.released == releasable(state, rank)) continue;
      queue_.emplace_back(state.moments[state.released], i);
      std::push_heap(queue_.begin(), queue_.end(), std::greater<>());
    }
    return floor;
  }

 private:
  struct State {
    const Nanoseconds* moments;
    std::int64_t bytes;
    Index count;
    Index kept;
    Index released;
  };

  [[nodiscard]] Index releasable(const State& state, Index rank) const {
    const Index taken = copies_ == 1 ? state.count : std::min(state.count, rank + 1);
    return taken - std::min(taken, state.kept);
  }

  std::int64_t capacity_ = 0;
  Index copies_ = 1;
  std::vector<State> states_;
  std::int64_t total_ = 0;     // of all copies
  std::int64_t single_ = 0;    // of values with one copy
  std::int64_t per_copy_ = 0;  // of the others, for each rank
  std::int64_t released_ = 0;
  std::vector<std::pair<Nanoseconds, Index>> queue_;
};

std::string too_much(const Problem& problem, Index task, const MemoryPool& pool) {
  const std::string where = pool.devices.size() == 1
                                ? fmt::format("device \"{}\"", problem.cluster().at(pool.devices.front()).name)
                            : pool.kind == MemoryPoolKind::kUnknown
                                ? fmt::format("any of its {} devices", pool.devices.size())
                                : fmt::format("the {} devices that it is confined to", pool.devices.size());
  return fmt::format(
      "while operator \"{}\" runs, tensors that cannot be released exceed the {} bytes that parameters leave on {}",
      problem.op(TaskId(task)).name, *pool.capacity, where);
}

}  // namespace

Earliest path_lengths(const Relaxation& relaxation, Direction direction) {
  Earliest earliest(relaxation.task_count(), 0);
  for_each_in_order(relaxation, direction,
                    [&](Index task) { earliest[task] = after_predecessors(relaxation, direction, earliest, task); });
  return earliest;
}

Nanoseconds earliest_release(const Relaxation& relaxation, const HeldValue& value, Index rank, Direction direction,
                             const Earliest& earliest) {
  const Index copy = direction == Direction::kForward ? rank : value.count - 1 - rank;
  Nanoseconds moment = 0;
  for_each_closer(value, direction, [&](Index c, Nanoseconds delay) {
    const Index task = task_at(relaxation.classes()[c], copy);
    moment = std::max(moment, earliest[task] + relaxation.duration(task) + delay);
  });
  return moment;
}

namespace {

/// No task of a plan that leaves no time unused starts later, in either direction: at every moment
/// something runs or is sent. (As a double: sums of this size need not fit in 64 bits.)
double latest_start(const Problem& problem) {
  double sum = 0;
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    Duration longest;
    for (ModeIndex m = 0; m < problem.mode_count(TaskId(t)); ++m) {
      longest = std::max(longest, problem.mode(TaskId(t), m).duration);
    }
    sum += static_cast<double>(longest.value());
  }
  const Cluster& cluster = problem.cluster();
  std::map<Bytes, double> slowest;  // transfer of this size
  for (std::size_t v = 0; v < problem.value_count(); ++v) {
    const auto [entry, is_new] = slowest.try_emplace(problem.size(ValueId(v)), 0);
    if (is_new) {
      for (std::size_t k = 0; k < cluster.device_count(); ++k) {
        for (std::size_t l = 0; l < cluster.device_count(); ++l) {
          const auto time = problem.transfer_time(ValueId(v), DeviceId(k), DeviceId(l));
          if (time) entry->second = std::max(entry->second, static_cast<double>(time->value()));
        }
      }
    }
    if (!problem.consumers(ValueId(v)).empty()) sum += entry->second * static_cast<double>(cluster.device_count());
  }
  return sum;
}

/// One visit of every task. True if some task became later.
bool raise_earliest(const Relaxation& relaxation, const MemoryPools& pools, Direction direction, Earliest& earliest,
                    std::vector<std::string>* proofs) {
  Releases releases(relaxation, pools, direction, earliest);
  // Classes with several copies keep their state from copy to copy.
  std::vector<std::vector<std::unique_ptr<Waiting>>> states(pools.pools().size());
  for (std::size_t i = 0; i < states.size(); ++i) states[i].resize(pools.pools()[i].members.size());
  Waiting scratch;
  std::vector<bool> reported(relaxation.classes().size(), false);
  bool raised = false;
  for_each_in_order(relaxation, direction, [&](Index task) {
    const Nanoseconds before = earliest[task];
    earliest[task] = std::max(before, after_predecessors(relaxation, direction, earliest, task));
    const Index c = relaxation.class_of(task);
    const auto copies = static_cast<Index>(relaxation.classes()[c].tasks.size());
    const Index rank = direction == Direction::kForward ? relaxation.rank(task) : copies - 1 - relaxation.rank(task);
    for (const auto& [pool_index, member] : pools.memberships(c)) {
      if (relaxation.duration(task) == 0) break;  // may hold what it takes for no time
      const MemoryPool& pool = pools.pools()[pool_index];
      if (!pool.capacity) continue;
      std::unique_ptr<Waiting>& kept = states[pool_index][member];
      if (copies > 1 && !kept) kept = std::make_unique<Waiting>();
      Waiting& waiting = copies > 1 ? *kept : scratch;
      if (rank == 0) waiting.begin(relaxation, releases, pool, pool_index, member, direction);
      const auto moment = waiting.earliest(rank, earliest[task]);
      if (moment) {
        earliest[task] = *moment;
      } else if (proofs != nullptr && !reported[c]) {
        reported[c] = true;
        proofs->push_back(too_much(relaxation.problem(), task, pool));
      }
    }
    raised = raised || earliest[task] > before;
    releases.settle(task, earliest[task] + relaxation.duration(task));
  });
  return raised;
}

}  // namespace

Earliest memory_path_lengths(const Relaxation& relaxation, const MemoryPools& pools, Direction direction,
                             std::vector<std::string>* proofs) {
  // A task may wait for releases by tasks that are visited after it; until then these count with what
  // is known of them, which is never too late. Mostly one repetition confirms the first visit; where
  // tasks wait for each other in a circle, every visit finds later moments, and soon impossible ones.
  const std::size_t most_visits = std::clamp<std::size_t>(1'000'000 / (relaxation.task_count() + 1), 4, 1000);
  std::optional<double> latest;
  Earliest earliest = path_lengths(relaxation, direction);
  for (std::size_t visit = 0; visit < most_visits; ++visit) {
    if (!raise_earliest(relaxation, pools, direction, earliest, visit == 0 ? proofs : nullptr)) break;
    if (visit < 2) continue;
    if (!latest) latest = latest_start(relaxation.problem());
    const auto last = std::max_element(earliest.begin(), earliest.end());
    if (static_cast<double>(*last) <= *latest) continue;
    if (proofs != nullptr) {
      proofs->push_back(
          fmt::format("operator \"{}\" waits in a circle for memory: what it waits for cannot be released before it",
                      relaxation.problem().op(TaskId(static_cast<std::size_t>(last - earliest.begin()))).name));
    }
    break;
  }
  return earliest;
}

}  // namespace opweave::bounds
