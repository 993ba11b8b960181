#include "order_search/order_search_moves.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace opweave::order_search {
namespace {

/// Nodes that one change may shift: more is a different schedule rather than a neighbour.
constexpr std::size_t kMostNodes = 600;
/// How far a critical node may be moved along its resource.
constexpr int kFarthest = 40;
/// Chance to go one node farther.
constexpr double kFarther = 0.7;
/// The critical path is traced anew after every change of the order and now and then otherwise, since ties are broken
/// by chance.
constexpr std::uint32_t kRetrace = 50;
/// One in so many paths ends at the last node of a random device rather than of all.
constexpr std::uint32_t kOtherDevice = 4;

/// Keys of a band lie within this distance of each other; its middle is that of the times.
constexpr Time kBandWidth = Time{1} << 50;
/// A band before all others, so that keys of the first may be somewhat negative.
constexpr Time kFirstBand = kBandWidth / 2;

/// Nodes of each group, ascending.
template <class GroupOf>
detail::Lists<Node> group_nodes(const std::vector<Node>& nodes, std::size_t groups, GroupOf group_of) {
  std::vector<std::vector<Node>> lists(groups);
  for (const Node node : nodes) lists[group_of(node)].push_back(node);
  detail::Lists<Node> result;
  for (const std::vector<Node>& list : lists) {
    result.items.insert(result.items.end(), list.begin(), list.end());
    result.close_list();
  }
  return result;
}

}  // namespace

Orders::Orders(const Network& network, std::span<const Time> starts, std::uint64_t seed)
    : network_(network),
      random_(seed),
      position_(network.node_count, kNone),
      is_marked_(network.node_count, 0),
      key_(network.node_count, 0),
      next_(network.node_count, kNone) {
  for (const Node node : network.topological_order) {
    if (!network.fills_gaps[node]) accepted_.push_back(node);
  }
  std::stable_sort(accepted_.begin(), accepted_.end(),
                   [&](Node a, Node b) { return key_at(a, starts[a]) < key_at(b, starts[b]); });
  for (std::size_t i = 0; i < accepted_.size(); ++i) position_[accepted_[i]] = static_cast<std::uint32_t>(i);
  candidate_ = accepted_;
  ordered_ = accepted_;
  std::sort(ordered_.begin(), ordered_.end());
  chunks_ = group_nodes(ordered_, network.chunk_count, [&](Node node) { return network.labels[node].chunk; });
  copies_ = group_nodes(ordered_, network.copy_count, [&](Node node) { return network.labels[node].copy; });
  twins_ = group_nodes(ordered_, network.twins_count, [&](Node node) { return network.labels[node].twins; });
  double total = 0;
  double count = 0;
  for (const Node node : ordered_) {
    if (network.duration[node] == 0) continue;
    total += static_cast<double>(network.duration[node]);
    count += 1;
  }
  if (count > 0) mean_duration_ = total / count;
}

Time Orders::key_at(Node node, Time start) const {
  if (network_.bands.empty()) return 2 * start;
  const Band& band = network_.bands[node];
  return kFirstBand + kBandWidth * band.number + (band.is_fixed() ? Time{band.rank} : 2 * start);
}

/// The node would change its place relative to nodes of another band.
bool Orders::leaves_band(Node node) const {
  if (network_.bands.empty()) return false;
  const Band& band = network_.bands[node];
  return band.is_fixed() || key_[node] < kBandWidth * band.number || key_[node] >= kBandWidth * (band.number + 1);
}

void Orders::mark(Node node, Time key) {
  if (is_marked_[node] == 0) {
    is_marked_[node] = 1;
    marked_.push_back(node);
  }
  key_[node] = key;
}

void Orders::forget_marks() {
  for (const Node node : marked_) is_marked_[node] = 0;
  marked_.clear();
}

/// Keys of predecessors that would now come too late, and of theirs, move down as far as needed.
bool Orders::pull_predecessors(const Timing& timing) {
  work_ = marked_;
  while (!work_.empty()) {
    const Node node = work_.back();
    work_.pop_back();
    const Time key = key_[node];
    for (const Node earlier : network_.predecessors[node]) {
      if (network_.fills_gaps[earlier]) continue;
      const Time latest = key - std::max<Time>(2 * network_.duration[earlier], 1);
      if ((is_marked_[earlier] != 0 ? key_[earlier] : key_of(earlier, timing)) <= latest) continue;
      mark(earlier, latest);
      if (marked_.size() > kMostNodes) return false;
      work_.push_back(earlier);
    }
  }
  return true;
}

/// Keys of successors that would now come too early, and of theirs, move up as far as needed.
bool Orders::push_successors(const Timing& timing) {
  work_ = marked_;
  while (!work_.empty()) {
    const Node node = work_.back();
    work_.pop_back();
    const Time earliest = key_[node] + std::max<Time>(2 * network_.duration[node], 1);
    for (const Node later : network_.successors[node]) {
      if (network_.fills_gaps[later]) continue;
      if ((is_marked_[later] != 0 ? key_[later] : key_of(later, timing)) >= earliest) continue;
      mark(later, earliest);
      if (marked_.size() > kMostNodes) return false;
      work_.push_back(later);
    }
  }
  return true;
}

/// The order by key, where everything unmarked keeps its own. False if nothing changes.
bool Orders::rebuild(const Timing& timing) {
  if (marked_.empty() || std::ranges::any_of(marked_, [&](Node node) { return leaves_band(node); })) return false;
  std::sort(marked_.begin(), marked_.end(),
            [&](Node a, Node b) { return key_[a] != key_[b] ? key_[a] < key_[b] : position_[a] < position_[b]; });
  const auto position_of_key = [&](Time key) {
    return static_cast<std::size_t>(std::partition_point(accepted_.begin(), accepted_.end(),
                                                         [&](Node node) { return key_of(node, timing) < key; }) -
                                    accepted_.begin());
  };
  std::size_t first = position_of_key(key_[marked_.front()]);
  std::size_t last = std::min(position_of_key(key_[marked_.back()]), accepted_.size() - 1);
  for (const Node node : marked_) {
    first = std::min<std::size_t>(first, position_[node]);
    last = std::max<std::size_t>(last, position_[node]);
  }
  std::size_t to = first;
  auto next = marked_.begin();
  for (std::size_t from = first; from <= last; ++from) {
    const Node node = accepted_[from];
    if (is_marked_[node] != 0) continue;
    const Time key = key_of(node, timing);
    while (next != marked_.end() && key_[*next] <= key) candidate_[to++] = *next++;
    candidate_[to++] = node;
  }
  while (next != marked_.end()) candidate_[to++] = *next++;
  while (first <= last && candidate_[first] == accepted_[first]) ++first;
  if (first > last) return false;
  while (candidate_[last] == accepted_[last]) --last;
  first_ = first;
  last_ = last;
  return true;
}

bool Orders::sort(const Timing& timing) {
  std::size_t changed = candidate_.size();
  for (std::size_t i = std::max<std::size_t>(first_, 1); i < candidate_.size(); ++i) {
    const Node node = candidate_[i];
    const auto key = [&](Node other) { return key_at(other, timing.candidate_start(other)); };
    const Time own = key(node);
    if (key(candidate_[i - 1]) <= own) continue;
    std::size_t to = i;
    for (; to > 0 && key(candidate_[to - 1]) > own; --to) candidate_[to] = candidate_[to - 1];
    candidate_[to] = node;
    changed = std::min(changed, to);
    last_ = std::max(last_, i);
  }
  first_ = std::min(first_, changed);
  return changed < candidate_.size();
}

void Orders::accept(const Timing& timing) {
  for (std::size_t i = first_; i <= last_ && i < candidate_.size(); ++i) {
    accepted_[i] = candidate_[i];
    position_[candidate_[i]] = static_cast<std::uint32_t>(i);
  }
  for (const Node node : timing.timed()) {
    const Node before = timing.previous_on_resource(node);
    if (before != kNone) next_[before] = node;
  }
  critical_.clear();
}

void Orders::reject() {
  std::copy(accepted_.begin() + static_cast<std::ptrdiff_t>(first_),
            accepted_.begin() + static_cast<std::ptrdiff_t>(last_) + 1,
            candidate_.begin() + static_cast<std::ptrdiff_t>(first_));
}

void Orders::trace_critical_path(const Timing& timing) {
  critical_.clear();
  // The end to explain: that of everything, or of one device.
  const bool any_device = random_.below(kOtherDevice) != 0;
  const std::uint32_t device = random_.below(network_.device_count);
  const std::span<const Time> ends = timing.ends();
  Node node = 0;
  for (Node other = 1; other < network_.node_count; ++other) {
    const bool is_there = any_device || network_.labels[other].device == device;
    const bool was_there = any_device || network_.labels[node].device == device;
    if (is_there != was_there ? is_there : ends[other] > ends[node]) node = other;
  }
  bool delays_resource = false;
  while (node != kNone) {
    const Time start = timing.start(node);
    Node tight = kNone;
    std::size_t candidates = 0;
    bool by_resource = false;
    const auto consider = [&](Node earlier, bool resource) {
      if (ends[earlier] != start || random_.below(++candidates) != 0) return;
      tight = earlier;
      by_resource = resource;
    };
    for (const Node earlier : network_.predecessors[node]) consider(earlier, false);
    const Node before = timing.previous_on_resource(node);
    if (before != kNone) consider(before, true);
    critical_.push_back({node, by_resource, delays_resource});
    delays_resource = by_resource;
    node = tight;
  }
}

bool Orders::shift_before(Node node, const Timing& timing) {
  Node ahead = node;
  for (int steps = 0; steps < kFarthest; ++steps) {
    const Node before = timing.previous_on_resource(ahead);
    if (before == kNone) break;
    ahead = before;
    if (random_.unit() >= kFarther) break;
  }
  if (ahead == node) return false;
  mark(node, key_of(ahead, timing) - 1);
  return pull_predecessors(timing);
}

Node Orders::after(Node node, const Timing& timing) const {
  const Node next = next_[node];
  return next == kNone || timing.previous_on_resource(next) != node ? kNone : next;
}

bool Orders::shift_behind(Node node, const Timing& timing) {
  Node behind = node;
  for (int steps = 0; steps < kFarthest; ++steps) {
    const Node next = after(behind, timing);
    if (next == kNone) break;
    behind = next;
    if (random_.unit() >= kFarther) break;
  }
  if (behind == node) return false;
  mark(node, key_of(behind, timing) + 1);
  return push_successors(timing);
}

bool Orders::shift_set(Move move, Node around, const Timing& timing) {
  // Mostly small shifts, sometimes large ones, in mean durations.
  const auto draw_shift = [&](double farthest) {
    const double u = 2 * random_.unit() - 1;
    return static_cast<Time>(u * u * u * farthest * mean_duration_) * 2;
  };
  const auto draw_length = [&](double longest) { return static_cast<Time>(random_.unit() * longest * mean_duration_); };
  const Time time = timing.start(around);
  const Label& label = network_.labels[around];
  Time shift = 0;
  switch (move) {
    case Move::kChunk:
      shift = draw_shift(16);
      for (const Node node : chunks_[label.chunk]) mark(node, key_of(node, timing) + shift);
      break;
    case Move::kMicrobatch: {
      shift = draw_shift(12);
      const bool whole = random_.below(3) != 0;
      const Time length = whole ? std::numeric_limits<Time>::max() : draw_length(120);
      for (const Node node : copies_[label.copy]) {
        const Time distance = shift > 0 ? timing.start(node) - time : time - timing.start(node);
        if (distance >= 0 && distance < length) mark(node, key_of(node, timing) + shift);
      }
      break;
    }
    case Move::kSegment: {
      shift = draw_shift(12);
      const Time length = draw_length(40);
      for (const Node node : copies_[label.copy]) {
        if (std::abs(timing.start(node) - time) < length) mark(node, key_of(node, timing) + shift);
      }
      break;
    }
    case Move::kTimeSpan: {
      shift = draw_shift(8);
      const Time end = time + draw_length(60);
      Node node = around;
      for (int steps = 0; steps < 60 && node != kNone && timing.start(node) < end; ++steps) {
        if (network_.labels[node].kind == label.kind && !network_.fills_gaps[node]) {
          mark(node, key_of(node, timing) + shift);
        }
        node = after(node, timing);
      }
      break;
    }
    case Move::kTwins: {
      shift = draw_shift(6);
      const Time end = time + draw_length(400);
      for (const Node node : twins_[label.twins]) {
        if (timing.start(node) >= time && timing.start(node) < end) mark(node, key_of(node, timing) + shift);
      }
      break;
    }
    default:
      return false;
  }
  if (shift == 0 || marked_.size() > kMostNodes) return false;
  return shift < 0 ? pull_predecessors(timing) : push_successors(timing);
}

bool Orders::propose(Move move, const Timing& timing) {
  if (critical_.empty() || random_.below(kRetrace) == 0) trace_critical_path(timing);
  constexpr int kTries = 20;
  const auto pick = [&](auto suits) {
    for (int i = 0; i < kTries; ++i) {
      const CriticalNode& critical = critical_[random_.below(critical_.size())];
      if (!network_.fills_gaps[critical.node] && suits(critical)) return critical.node;
    }
    return kNone;
  };
  bool possible = false;
  if (move == Move::kCriticalEarlier) {
    const Node node = pick([](const CriticalNode& critical) { return critical.waits_for_resource; });
    possible = node != kNone && shift_before(node, timing);
  } else if (move == Move::kCriticalLater) {
    const Node node = pick([](const CriticalNode& critical) { return critical.delays_resource; });
    possible = node != kNone && shift_behind(node, timing);
  } else if (move == Move::kNode) {
    const Node node = ordered_[random_.below(ordered_.size())];
    possible = random_.below(2) == 0 ? shift_before(node, timing) : shift_behind(node, timing);
  } else {
    Node node = pick([](const CriticalNode&) { return true; });
    if (node == kNone || random_.below(3) == 0) node = ordered_[random_.below(ordered_.size())];
    possible = shift_set(move, node, timing);
  }
  possible = possible && rebuild(timing);
  forget_marks();
  return possible;
}

}  // namespace opweave::order_search
