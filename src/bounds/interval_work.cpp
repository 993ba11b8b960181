#include "bounds/interval_work.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>

namespace opweave::bounds {
namespace {

__extension__ using Wide = __int128;  // nanoseconds x bytes exceed 64 bits

/// Work is counted in parts of it, so that a price of time beside it stays an integer.
constexpr std::int64_t kWhole = 48;

/// Values of a pool as a forest: a copy can only be taken together with those on its path to the root.
struct ValueForest {
  std::vector<Index> order;         ///< parents first
  std::vector<Index> parent;        ///< by value
  std::vector<std::int64_t> depth;  ///< bytes on the path, by value
};

/// In the direction's time: the classes that take the value.
const std::vector<Index>& takers(const HeldValue& value, Direction direction) {
  return direction == Direction::kForward ? value.first : value.last;
}

bool takes(const MemoryPool& pool, std::size_t member, std::size_t value, Direction direction) {
  return direction == Direction::kForward ? pool.taken_by(member, value) : pool.kept_by(member, value);
}

ValueForest plant(const MemoryPool& pool, Direction direction) {
  const std::size_t count = pool.values.size();
  const std::vector<std::uint64_t>& rows = direction == Direction::kForward ? pool.taken : pool.kept;
  // Bit u of row v: u has been taken whenever v has, whichever of its takers was first.
  std::vector<std::uint64_t> implied(count * pool.words, ~std::uint64_t{0});
  std::vector<int> implied_count(count, 0);
  for (std::size_t v = 0; v < count; ++v) {
    for (const Index taker : takers(pool.values[v], direction)) {
      for (std::size_t w = 0; w < pool.words; ++w) {
        implied[v * pool.words + w] &= rows[pool.member(taker) * pool.words + w];
      }
    }
    for (std::size_t w = 0; w < pool.words; ++w) implied_count[v] += __builtin_popcountll(implied[v * pool.words + w]);
  }
  ValueForest forest{std::vector<Index>(count), std::vector<Index>(count, detail::kNoIndex),
                     std::vector<std::int64_t>(count, 0)};
  std::iota(forest.order.begin(), forest.order.end(), 0U);
  // Implication is transitive, so a value that is implied by another implies no more than that one.
  std::stable_sort(forest.order.begin(), forest.order.end(),
                   [&](Index a, Index b) { return implied_count[a] < implied_count[b]; });
  for (std::size_t i = 0; i < count; ++i) {
    const Index v = forest.order[i];
    for (std::size_t j = 0; j < i; ++j) {
      const Index u = forest.order[j];
      if ((implied[v * pool.words + u / 64] >> (u % 64) & 1U) == 0) continue;
      if (forest.parent[v] == detail::kNoIndex || forest.depth[u] > forest.depth[forest.parent[v]])
        forest.parent[v] = u;
    }
    forest.depth[v] =
        pool.values[v].bytes + (forest.parent[v] == detail::kNoIndex ? 0 : forest.depth[forest.parent[v]]);
  }
  return forest;
}

}  // namespace

std::vector<Nanoseconds> member_releases(const Relaxation& relaxation, const MemoryPool& pool, Direction direction,
                                         const Earliest& earliest) {
  std::vector<Nanoseconds> result(pool.members.size(), std::numeric_limits<Nanoseconds>::max());
  if (pool.kind != MemoryPoolKind::kUnknown) return result;
  const auto group = [&](Index c) {
    return relaxation.problem().group_of(TaskId(relaxation.classes()[c].tasks.front()));
  };
  std::unordered_map<GroupId, Nanoseconds> first;
  for (const HeldValue& value : pool.values) {
    if (value.first == value.last && value.first.size() == 1) continue;  // held while one task runs
    const auto [entry, is_new] = first.try_emplace(group(value.first.front()), std::numeric_limits<Nanoseconds>::max());
    entry->second = std::min(entry->second, earliest_release(relaxation, value, 0, direction, earliest));
  }
  for (std::size_t m = 0; m < pool.members.size(); ++m) {
    const auto found = first.find(group(pool.members[m]));
    if (found != first.end()) result[m] = found->second;
  }
  return result;
}

IntervalWork::IntervalWork(const Relaxation& relaxation, const MemoryPool& pool, StreamId stream, Direction direction,
                           const Earliest& earliest, const ModeRules* modes, const std::vector<bool>* counts)
    : modes_(modes), relaxation_(relaxation), device_(pool.devices.front()), capacity_(pool.capacity) {
  // What is dropped may come back within the last interval, and takes its time there.
  const bool may_repeat = modes_ != nullptr && modes_->may_drop() && direction == Direction::kBackward;
  if (may_repeat) capacity_.reset();
  for (const DeviceId device : pool.devices) {
    machines_ += relaxation.problem().cluster().stream_mask(device) >> stream.index() & 1U;
  }
  if (pool.kind == MemoryPoolKind::kUnknown) machines_ = 1;
  if (capacity_) collect_holdings(relaxation, pool, direction, earliest);
  collect_jobs(relaxation, pool, stream, direction, earliest, counts);
  if (may_repeat) collect_repetitions(relaxation, pool, stream, earliest);
  std::stable_sort(jobs_.begin(), jobs_.end(), [](const Job& a, const Job& b) { return a.earliest < b.earliest; });
  pour();
}

void IntervalWork::collect_holdings(const Relaxation& relaxation, const MemoryPool& pool, Direction direction,
                                    const Earliest& earliest) {
  const ValueForest forest = plant(pool, direction);
  const auto modes_of = [&](Index v) { return modes_ == nullptr ? MemoryModes() : modes_->modes(pool.values[v]); };

  first_copy_ = std::numeric_limits<Nanoseconds>::max();
  first_holding_.assign(pool.values.size(), 0);
  for (const Index v : forest.order) {
    const HeldValue& value = pool.values[v];
    first_holding_[v] = static_cast<Index>(holdings_.size());
    const MemoryModes may = modes_of(v);
    if (may.host) {
      for (const Index taker : takers(value, direction)) {
        for (const Index t : relaxation.classes()[taker].tasks) first_copy_ = std::min(first_copy_, earliest[t]);
      }
    }
    for (Index rank = 0; rank < value.count; ++rank) {
      Index parent = detail::kNoIndex;
      // What may have left the device says nothing of what is there with it.
      if (forest.parent[v] != detail::kNoIndex && !modes_of(forest.parent[v]).any()) {
        const Index parents = pool.values[forest.parent[v]].count;
        // The only copy of a value comes after all copies of one that has many.
        parent = first_holding_[forest.parent[v]] + (parents == value.count ? rank : parents - 1);
      }
      Holding holding{value.bytes, earliest_release(relaxation, value, rank, direction, earliest), parent};
      if (may.drop) holding.dropped = value.tensor;
      if (may.any() && !value.is_made_here) holding.release = 0;  // it is sent once more: nothing holds it here
      holdings_.push_back(holding);
    }
  }

  std::vector<std::size_t> taking(pool.values.size(), 0);
  for (std::size_t v = 0; v < pool.values.size(); ++v) {
    for (std::size_t m = 0; m < pool.members.size(); ++m) taking[v] += takes(pool, m, v, direction) ? 1U : 0U;
  }
  const auto deeper = [&](Index a, Index b) {
    if (forest.depth[a] != forest.depth[b]) return forest.depth[a] > forest.depth[b];
    return taking[a] != taking[b] ? taking[a] < taking[b] : a < b;
  };
  const auto more_specific = [&](Index a, Index b) {
    return taking[a] != taking[b] ? taking[a] < taking[b] : a < b;  // values are sorted by size
  };
  std::vector<Index> taken;
  for (std::size_t m = 0; m < pool.members.size(); ++m) {
    taken.clear();
    for (Index v = 0; v < pool.values.size(); ++v) {
      if (takes(pool, m, v, direction)) taken.push_back(v);
    }
    const auto add_first = [&](const auto& before) {
      const auto count = static_cast<std::ptrdiff_t>(std::min(kCharges, taken.size()));
      std::partial_sort(taken.begin(), taken.begin() + count, taken.end(), before);
      member_values_.insert(member_values_.end(), taken.begin(), taken.begin() + count);
      member_values_.resize(member_values_.size() + kCharges - static_cast<std::size_t>(count), detail::kNoIndex);
    };
    add_first(deeper);
    add_first(more_specific);
  }
}

void IntervalWork::collect_jobs(const Relaxation& relaxation, const MemoryPool& pool, StreamId stream,
                                Direction direction, const Earliest& earliest, const std::vector<bool>* counts) {
  const bool one_device = pool.kind != MemoryPoolKind::kShared;
  const std::vector<Nanoseconds> releases = member_releases(relaxation, pool, direction, earliest);
  for (std::size_t m = 0; m < pool.members.size(); ++m) {
    if (counts != nullptr && !(*counts)[m]) continue;
    const std::vector<Index>& tasks = relaxation.classes()[pool.members[m]].tasks;
    if ((relaxation.problem().streams(TaskId(tasks.front())) >> stream.index() & 1U) == 0) continue;
    for (Index i = 0; i < tasks.size(); ++i) {
      const Index task = tasks[i];
      Job job{earliest[task],
              relaxation.duration(task),
              0,
              1,
              static_cast<Index>(charges_.size()),
              relaxation.problem().task(TaskId(task)).op,
              releases[m]};
      job.work = one_device ? job.duration : relaxation.work(task);
      if (!one_device) job.widest = relaxation.widest(task);
      if (job.work == 0) continue;
      if (capacity_) {
        const Index rank = direction == Direction::kForward ? i : static_cast<Index>(tasks.size()) - 1 - i;
        for (std::size_t k = 0; k < kWays * kCharges; ++k) {
          const Index v = member_values_[m * kWays * kCharges + k];
          if (v == detail::kNoIndex) {
            charges_.push_back(detail::kNoIndex);
            continue;
          }
          const Index count = pool.values[v].count;
          charges_.push_back(first_holding_[v] + (tasks.size() == count ? rank : count - 1));
        }
      }
      total_ += job.work;
      jobs_.push_back(job);
    }
  }
}

/// Repetitions that may run within the last interval: work there, but none of total().
void IntervalWork::collect_repetitions(const Relaxation& relaxation, const MemoryPool& pool, StreamId stream,
                                       const Earliest& earliest) {
  const Problem& problem = relaxation.problem();
  const auto after = [&](TaskId reader) {
    const auto t = static_cast<Index>(reader.index());
    return earliest[t] + relaxation.duration(t);
  };
  const std::vector<Nanoseconds> tails = modes_->repetition_tails(after);
  for (const Index member : pool.members) {
    const std::vector<Index>& tasks = relaxation.classes()[member].tasks;
    if ((problem.streams(TaskId(tasks.front())) >> stream.index() & 1U) == 0) continue;
    for (const Index task : tasks) {
      const Nanoseconds tail = tails[task];
      const Nanoseconds duration = relaxation.duration(task);
      if (tail == ModeRules::kNever || duration == 0) continue;
      jobs_.push_back(
          {tail, duration, duration, 1, static_cast<Index>(charges_.size()), problem.task(TaskId(task)).op});
    }
  }
}

/// Work arrives at the jobs' earliest starts and drains at the rate of the machines that may be busy.
void IntervalWork::pour() {
  FluidStep state{0, 0, 0, 0};
  std::int64_t width = 0;
  for (std::size_t i = 0; i < jobs_.size();) {
    const Nanoseconds now = jobs_[i].earliest;
    const Wide drained = std::min<Wide>(state.backlog, Wide{state.rate} * (now - state.from));
    state.done += static_cast<Nanoseconds>(drained);
    state.backlog -= static_cast<Nanoseconds>(drained);
    state.from = now;
    for (; i < jobs_.size() && jobs_[i].earliest == now; ++i) {
      state.backlog += jobs_[i].work;
      width += jobs_[i].widest;
    }
    state.rate = std::min(machines_, width);
    fluid_.push_back(state);
  }
}

Nanoseconds IntervalWork::fluid(Nanoseconds h) const {
  const auto after = std::upper_bound(fluid_.begin(), fluid_.end(), h,
                                      [](Nanoseconds x, const FluidStep& step) { return x < step.from; });
  if (after == fluid_.begin()) return 0;
  const FluidStep& step = *(after - 1);
  return step.done + static_cast<Nanoseconds>(std::min<Wide>(step.backlog, Wide{step.rate} * (h - step.from)));
}

Nanoseconds IntervalWork::most(Nanoseconds h) const {
  Nanoseconds least = fluid(h);
  if (!capacity_) return least;
  for (const std::int64_t price : prices()) {
    for (const Charging charging : {kDeepest, kMostSpecific}) {
      least = std::min(least, most_in_memory(h, charging, price));
    }
  }
  return least;
}

/// Parts of kWhole at which time of the interval is counted beside work, where values may be dropped: any gives a
/// bound. Free: best where what is dropped cannot come back early. A half: nothing is gained by running at once what
/// must run again. Between: what lies between.
std::vector<std::int64_t> IntervalWork::prices() const {
  if (modes_ == nullptr || !modes_->may_drop()) return {0};
  return {0, kWhole / 6, kWhole / 4, kWhole / 3, 3 * kWhole / 8, kWhole / 2};
}

/// What a job adds, in parts of kWhole, although the value that it is charged to is dropped. Who makes the value runs
/// again behind the interval; others of its unit do so within the interval, which takes their time once more, or behind
/// it.
std::int64_t IntervalWork::gain_of_dropped(const Job& job, const Holding& holding, std::int64_t price) const {
  if (!modes_->runs_again_with(job.op, *holding.dropped)) return kWhole - price;
  const bool makes_it = *relaxation_.problem().graph().at(*holding.dropped).producer == job.op;
  return makes_it ? -price : kWhole - 2 * price;
}

Nanoseconds IntervalWork::most_in_memory(Nanoseconds h, Charging charging, std::int64_t price) const {
  const std::int64_t worth = kWhole - price;  // of work that need not be done again
  std::vector<Nanoseconds> work(holdings_.size(), 0);
  std::vector<Nanoseconds> dropped(modes_ == nullptr ? 0 : holdings_.size(), 0);
  std::vector<Nanoseconds> unfinished;  // jobs that cannot end within the interval: one per machine at most
  Nanoseconds unheld = 0;
  for (const Job& job : jobs_) {
    if (job.earliest >= h) break;
    if (job.release < h) continue;
    if (job.duration >= h - job.earliest) {
      unfinished.push_back(static_cast<Nanoseconds>(std::min<Wide>(job.work, Wide{h - job.earliest} * job.widest)));
      continue;
    }
    Index charged = detail::kNoIndex;
    for (std::size_t k = 0; k < kCharges && charged == detail::kNoIndex; ++k) {
      const Index candidate = charges_[job.first_charge + charging * kCharges + k];
      if (candidate != detail::kNoIndex && holdings_[candidate].release >= h) charged = candidate;
    }
    (charged == detail::kNoIndex ? unheld : work[charged]) += job.work * worth;
    if (charged != detail::kNoIndex && holdings_[charged].dropped) {
      dropped[charged] += job.work * gain_of_dropped(job, holdings_[charged], price);
    }
  }
  for (std::size_t i = 0; i < dropped.size(); ++i) {
    const Nanoseconds anyway = std::max<Nanoseconds>(0, dropped[i]);
    unheld += anyway;
    work[i] -= anyway;
  }
  const auto running =
      static_cast<std::ptrdiff_t>(std::min<std::size_t>(unfinished.size(), static_cast<std::size_t>(machines_)));
  std::partial_sort(unfinished.begin(), unfinished.begin() + running, unfinished.end(), std::greater<>());
  Nanoseconds most = unheld + held_work(work, h);
  for (auto i = unfinished.begin(); i != unfinished.begin() + running; ++i) most += *i * worth;
  // The stream is idle before the first job may start.
  if (price > 0) most += price * machines_ * (h - std::min(h, jobs_.front().earliest));
  return most / kWhole;
}

/// Most work whose holdings fit into the capacity, fractions of holdings allowed, by Lagrangian
/// relaxation: any price per byte gives an upper bound, and the least is found between two prices, one
/// at which the chosen holdings exceed the capacity and one at which they do not.
Nanoseconds IntervalWork::held_work(const std::vector<Nanoseconds>& work, Nanoseconds h) const {
  struct Choice {
    Nanoseconds work = 0;
    std::int64_t bytes = 0;
  };
  // What is on the host at the end of the interval has been copied there within it.
  const std::int64_t on_host =
      modes_ == nullptr || first_copy_ >= h ? 0 : modes_->bytes_copied(device_, h - first_copy_);
  const std::int64_t capacity = std::max<std::int64_t>(*capacity_, 0) + on_host;
  std::vector<Wide> gain(holdings_.size());
  std::vector<Choice> subtree(holdings_.size());
  // The best set of holdings closed under parents at the price numerator / denominator.
  const auto choose = [&](Wide numerator, Wide denominator) {
    for (std::size_t i = 0; i < holdings_.size(); ++i) {
      const std::int64_t bytes = holdings_[i].release >= h ? holdings_[i].bytes : 0;
      gain[i] = denominator * work[i] - numerator * bytes;
      subtree[i] = {work[i], bytes};
    }
    Choice chosen;
    for (std::size_t i = holdings_.size(); i-- > 0;) {
      if (gain[i] <= 0) continue;
      const Index parent = holdings_[i].parent;
      if (parent != detail::kNoIndex) gain[parent] += gain[i];
      Choice& target = parent == detail::kNoIndex ? chosen : subtree[parent];
      target.work += subtree[i].work;
      target.bytes += subtree[i].bytes;
    }
    return chosen;
  };

  Choice above = choose(0, 1);
  if (above.bytes <= capacity) return above.work;
  Choice below;
  Nanoseconds least = above.work;
  for (int iteration = 0; iteration < 24; ++iteration) {
    const Wide numerator = above.work - below.work;
    const Wide denominator = above.bytes - below.bytes;
    const Choice chosen = choose(numerator, denominator);
    // work + price x (capacity - bytes), rounded down: the true maximum is an integer.
    const Wide value = denominator * chosen.work + numerator * (Wide{capacity} - chosen.bytes);
    least = std::min(least, static_cast<Nanoseconds>(value / denominator));
    if (denominator * (Wide{chosen.work} - below.work) <= numerator * (Wide{chosen.bytes} - below.bytes)) break;
    (chosen.bytes > capacity ? above : below) = chosen;
  }
  return least;
}

std::vector<IntervalWork::Sample> IntervalWork::samples(const Budget& budget) const {
  // Between these lengths the idle time grows no faster than at their right end.
  std::vector<Nanoseconds> lengths;
  for (const Job& job : jobs_) {
    lengths.push_back(job.earliest);
    if (capacity_) lengths.push_back(job.earliest + job.duration);
  }
  for (const Holding& holding : holdings_) lengths.push_back(holding.release);
  std::sort(lengths.begin(), lengths.end());
  lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());

  constexpr double kAllWork = 3e5;
  constexpr std::size_t kSpread = 48;
  constexpr int kRefinements = 24;
  std::vector<Nanoseconds> known(lengths.size(), -1);
  const auto evaluate = [&](std::size_t i) {
    if (known[i] < 0 && !budget.expired()) known[i] = most(lengths[i]);
  };
  const double cost = static_cast<double>(lengths.size()) * static_cast<double>(jobs_.size() + 8 * holdings_.size());
  if (cost <= kAllWork || lengths.size() <= kSpread) {
    for (std::size_t i = 0; i < lengths.size(); ++i) evaluate(i);
  } else {
    for (std::size_t i = 0; i < kSpread; ++i) evaluate(i * (lengths.size() - 1) / (kSpread - 1));
    for (int step = 0; step < kRefinements && !budget.expired(); ++step) {
      // Halve the gaps beside the length with the most idle time that still has one.
      std::size_t best = lengths.size();
      Wide best_idle = -1;
      std::size_t best_left = 0;
      std::size_t best_right = 0;
      std::size_t left = 0;
      for (std::size_t i = 0; i < lengths.size(); ++i) {
        if (known[i] < 0) continue;
        std::size_t right = i + 1;
        while (right < lengths.size() && known[right] < 0) ++right;
        const bool has_gap = i - left > 1 || (right < lengths.size() && right - i > 1);
        const Wide idle = Wide{machines_} * lengths[i] - known[i];
        if (has_gap && idle > best_idle) {
          best = i;
          best_idle = idle;
          best_left = left;
          best_right = std::min(right, lengths.size() - 1);
        }
        left = i;
      }
      if (best == lengths.size()) break;
      if (best - best_left > 1) evaluate((best + best_left) / 2);
      if (best_right - best > 1) evaluate((best + best_right) / 2);
    }
  }
  std::vector<Sample> result;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    if (known[i] >= 0) result.push_back({lengths[i], known[i]});
  }
  return result;
}

}  // namespace opweave::bounds
