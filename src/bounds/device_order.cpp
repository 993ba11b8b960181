#include "bounds/device_order.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <unordered_map>
#include <utility>

namespace opweave::bounds {
namespace {

/// Of what counts of begun copies cost, in steps: one per so many operators.
constexpr std::size_t kOperatorsPerStep = 4;
/// Steps between two looks at the clock.
constexpr std::size_t kStepsPerLook = 1024;

/// Keeps the row unless some row is at most it everywhere; drops the rows that it is at most everywhere.
void insert(std::vector<Nanoseconds>& rows, const std::vector<Nanoseconds>& row) {
  const std::size_t width = row.size();
  std::size_t kept = 0;
  for (std::size_t at = 0; at < rows.size(); at += width) {
    bool below = true;  // the known row is at most the new one everywhere
    bool above = true;
    for (std::size_t i = 0; i < width && (below || above); ++i) {
      below = below && rows[at + i] <= row[i];
      above = above && rows[at + i] >= row[i];
    }
    if (below) return;  // then nothing was dropped before
    if (above) continue;
    if (kept != at) std::copy_n(&rows[at], width, &rows[kept]);
    kept += width;
  }
  rows.resize(kept);
  rows.insert(rows.end(), row.begin(), row.end());
}

}  // namespace

void DeviceOrder::Counts::begin(Index op) {
  ++of[op];
  std::uint64_t mixed = (op + 1) * 0x9E3779B97F4A7C15ULL;  // as in SplitMix64
  mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9ULL;
  mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBULL;
  hash += mixed ^ (mixed >> 31);
}

DeviceOrder::DeviceOrder(DeviceWork work) : work_(std::move(work)), by_tail_(work_.streams) {
  for (Index op = 0; op < work_.operators.size(); ++op) {
    const DeviceWork::Operator& o = work_.operators[op];
    waits_.push_back(std::any_of(o.after.begin(), o.after.end(), [&](const DeviceWork::Lag& lag) {
      return lag.delay > 0 || work_.operators[lag.from].stream != o.stream;
    }));
    for (Index rank = 0; rank < o.heads.size(); ++rank) by_tail_[o.stream].push_back({o.tails[rank], op, rank});
    copies_ += o.heads.size();
  }
  for (std::vector<OperatorCopy>& copies : by_tail_) {
    std::stable_sort(copies.begin(), copies.end(),
                     [](const OperatorCopy& a, const OperatorCopy& b) { return a.tail > b.tail; });
  }
}

/// Copies of a waiting operator whose earliest start is known to depend on what has begun.
Index DeviceOrder::awaited(const Counts& counts, Index op) const {
  if (!waits_[op]) return 0;
  Index most = 0;
  for (const DeviceWork::Lag& lag : work_.operators[op].after) most = std::max<Index>(most, counts[lag.from]);
  return most - std::min<Index>(most, counts[op]);
}

std::vector<Index> DeviceOrder::all_awaited(const Counts& counts) const {
  std::vector<Index> result(waits_.size());
  for (Index op = 0; op < waits_.size(); ++op) result[op] = awaited(counts, op);
  return result;
}

/// Whether the values that are certainly held while the next copy runs fit on its device. It takes none elsewhere.
bool DeviceOrder::fits(const Counts& counts, Index op) const {
  const Index stream = work_.operators[op].stream;
  std::int64_t free = work_.capacities[stream];
  for (const DeviceWork::Value& value : work_.values) {
    if (value.stream != stream) continue;
    Index taken = 0;
    for (const Index taker : value.takers) taken = std::max<Index>(taken, counts[taker] + (taker == op ? 1U : 0U));
    Index released = std::numeric_limits<Index>::max();
    for (const Index keeper : value.keepers) released = std::min<Index>(released, counts[keeper]);
    if (taken > released) free -= value.bytes * (taken - released);
  }
  return free >= 0;
}

/// Whether the next copy holds nothing that is not held without it.
bool DeviceOrder::takes_nothing(const Counts& counts, Index op) const {
  return std::all_of(work_.values.begin(), work_.values.end(), [&](const DeviceWork::Value& value) {
    return std::find(value.takers.begin(), value.takers.end(), op) == value.takers.end() ||
           std::any_of(value.takers.begin(), value.takers.end(),
                       [&](Index other) { return other != op && counts[other] > counts[op]; });
  });
}

bool DeviceOrder::is_next(const Counts& counts, Index op) const {
  const DeviceWork::Operator& o = work_.operators[op];
  return counts[op] < o.heads.size() && std::all_of(o.after.begin(), o.after.end(), [&](const DeviceWork::Lag& lag) {
           return counts[lag.from] > counts[op];
         });
}

/// What has not begun takes its time on its stream, the longest tails first, and not too much of it at the end.
/// Amortised over the states on a path, and as far as the longest tail that still decides.
void DeviceOrder::find_rest(State& state, Index stream) const {
  const std::vector<OperatorCopy>& copies = by_tail_[stream];
  State::Left& left = state.left[stream];
  const auto has_begun = [&](const OperatorCopy& copy) { return copy.rank < state.counts[copy.op]; };
  while (left.copies < copies.size() && has_begun(copies[left.copies])) ++left.copies;
  left.rest = 0;
  Nanoseconds load = 0;
  for (std::size_t i = left.copies; i < copies.size() && left.load + copies[i].tail > left.rest; ++i) {
    if (has_begun(copies[i])) continue;
    load += work_.operators[copies[i].op].duration;
    left.rest = std::max(left.rest, load + copies[i].tail);
  }
}

/// How the moments after a step follow from those before.
std::vector<DeviceOrder::Column> DeviceOrder::columns(const Counts& before, const std::vector<Index>& awaited_before,
                                                      const Counts& after, Index step) const {
  std::vector<Column> result;
  std::size_t at = work_.streams;
  for (Index op = 0; op < work_.operators.size(); ++op) {
    if (!waits_[op]) continue;
    const DeviceWork::Operator& o = work_.operators[op];
    const auto lag = std::find_if(o.after.begin(), o.after.end(), [&](const auto& l) { return l.from == step; });
    const Index known = awaited_before[op];
    const Index count = op == step || lag != o.after.end() ? awaited(after, op) : known;
    for (Index i = 0; i < count; ++i) {
      const Index rank = after[op] + i;
      const Index position = rank - before[op];
      Column column{{}, o.heads[rank], {}, o.duration, o.tails[rank], o.stream, i == 0};
      if (position < known) column.before = at + position;
      if (lag != o.after.end() && rank == before[step]) column.delay = lag->delay;
      result.push_back(column);
    }
    at += known;
  }
  return result;
}

std::vector<DeviceOrder::Step> DeviceOrder::next_steps(const Counts& counts, const std::vector<Index>& waiting) const {
  std::vector<Step> result;
  std::size_t column = work_.streams;
  for (Index op = 0; op < work_.operators.size(); ++op) {
    if (is_next(counts, op) && fits(counts, op)) {
      Step& step = result.emplace_back();
      step.op = op;
      step.takes_nothing = takes_nothing(counts, op);
      if (waits_[op]) step.waits = column;
      step.head = work_.operators[op].heads[counts[op]];
      step.tail = work_.operators[op].tails[counts[op]];
    }
    column += waiting[op];
  }
  return result;
}

bool DeviceOrder::is_late(Nanoseconds makespan) {
  if (makespan <= limit_) return false;
  least_ = std::min(least_, makespan);
  return true;
}

/// Puts the row after the step into row_; false if something can no longer end in time.
bool DeviceOrder::follow(const State& from, std::size_t row, const Step& step, Nanoseconds start, const State& to) {
  const DeviceWork::Operator& done = work_.operators[step.op];
  const Nanoseconds end = start + done.duration;
  if (is_late(end + step.tail)) return false;
  row_.clear();
  for (Index stream = 0; stream < work_.streams; ++stream) {
    // Copies begin in the order of their starts: none starts before this one any more.
    row_.push_back(stream == done.stream ? end : std::max(from.rows[row + stream], start));
    if (is_late(row_.back() + to.left[stream].rest)) return false;
  }
  Nanoseconds previous = 0;  // copies run one after the other, and not before their stream is free
  for (const Column& column : step.columns) {
    Nanoseconds moment = column.before ? from.rows[row + *column.before] : column.head;
    moment = std::max(moment, column.is_first ? row_[column.stream] : previous);
    if (column.delay) moment = std::max(moment, end + *column.delay);
    previous = moment + column.duration;
    if (is_late(previous + column.tail)) return false;
    row_.push_back(moment);
  }
  return true;
}

std::optional<Nanoseconds> DeviceOrder::least_from(Nanoseconds limit, std::size_t most_steps, const Budget& budget) {
  steps_ = 0;
  limit_ = limit;
  least_ = kNoOrder;
  State root;
  root.left.resize(work_.streams);
  root.rows.assign(work_.streams, 0);
  for (const DeviceWork::Operator& o : work_.operators) {
    root.left[o.stream].load += o.duration * static_cast<Nanoseconds>(o.heads.size());
  }
  for (Index stream = 0; stream < work_.streams; ++stream) {
    find_rest(root, stream);
    if (is_late(root.left[stream].rest)) return least_;
  }
  std::size_t look = kStepsPerLook;
  std::vector<State> layer;
  layer.push_back(std::move(root));
  std::vector<std::pair<Nanoseconds, Nanoseconds>> times;  // start and end by step
  for (std::size_t begun = 0; begun < copies_; ++begun) {
    std::vector<State> next;
    std::unordered_map<Counts, std::size_t, CountsHash> known;
    for (const State& state : layer) {
      if (steps_ >= look) {
        if (budget.expired()) return std::nullopt;
        look = steps_ + kStepsPerLook;
      }
      const std::vector<Index> waiting = all_awaited(state.counts);
      std::vector<Step> choices = next_steps(state.counts, waiting);
      steps_ += work_.operators.size() / kOperatorsPerStep;
      for (Step& step : choices) {
        Counts counts = state.counts;
        counts.begin(step.op);
        const auto [entry, is_new] = known.try_emplace(counts, next.size());
        if (is_new) {
          const DeviceWork::Operator& o = work_.operators[step.op];
          next.push_back({counts, state.left, {}});
          next.back().left[o.stream].load -= o.duration;
          find_rest(next.back(), o.stream);
        }
        step.target = entry->second;
        step.columns = columns(state.counts, waiting, counts, step.op);
      }
      const std::size_t row_width = std::accumulate(waiting.begin(), waiting.end(), std::size_t{work_.streams});
      for (std::size_t row = 0; row < state.rows.size(); row += row_width) {
        if (++steps_ > most_steps) return std::nullopt;
        times.clear();
        for (const Step& step : choices) {
          const DeviceWork::Operator& o = work_.operators[step.op];
          const Nanoseconds start =
              std::max(state.rows[row + o.stream], step.waits ? state.rows[row + *step.waits] : step.head);
          times.emplace_back(start, start + o.duration);
        }
        for (std::size_t i = 0; i < choices.size(); ++i) {
          // What takes no memory is not put off to after a time in which its stream could have done it.
          bool leaves_room = false;
          for (std::size_t j = 0; j < choices.size() && !leaves_room; ++j) {
            leaves_room = j != i && choices[j].takes_nothing && times[j].second <= times[i].first &&
                          work_.operators[choices[j].op].stream == work_.operators[choices[i].op].stream;
          }
          if (leaves_room) continue;
          State& to = next[choices[i].target];
          if (follow(state, row, choices[i], times[i].first, to)) insert(to.rows, row_);
        }
      }
    }
    std::erase_if(next, [](const State& state) { return state.rows.empty(); });
    if (next.empty()) return least_;
    layer = std::move(next);
  }
  return limit;
}

}  // namespace opweave::bounds
