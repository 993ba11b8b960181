#include "partition/ordered.h"

#include <algorithm>
#include <unordered_map>

#include "core/infinity.h"
#include "partition/device_counts.h"
#include "partition/load_model.h"
#include "partition/topological.h"

namespace opweave::partition {
namespace {

/// Sets of vertices as words of bits, each kept once, with what is known about it.
class Ideals {
 public:
  /// How the best way to an ideal reaches it: its last device holds the ideal without `from`.
  struct Step {
    double value = kInfinity;
    std::uint32_t from = 0;
    std::uint32_t kind = 0;
  };

  Ideals(std::size_t vertices, std::size_t codes) : words_((vertices + 63) / 64), codes_(codes) {}

  [[nodiscard]] std::size_t count() const { return count_; }
  [[nodiscard]] const std::uint64_t* bits(std::uint32_t ideal) const { return bits_.data() + ideal * words_; }
  [[nodiscard]] bool has(std::uint32_t ideal, Vertex vertex) const {
    return (bits(ideal)[vertex / 64] >> vertex % 64 & 1) != 0;
  }
  [[nodiscard]] Step* steps(std::uint32_t ideal) { return steps_.data() + ideal * codes_; }

  /// The number of a set; `is_new` if it was not known.
  std::uint32_t find_or_add(const std::vector<std::uint64_t>& set, std::uint64_t hash, bool& is_new) {
    const auto [first, last] = of_hash_.equal_range(hash);
    for (auto place = first; place != last; ++place) {
      if (std::equal(set.begin(), set.end(), bits(place->second))) {
        is_new = false;
        return place->second;
      }
    }
    is_new = true;
    const auto ideal = static_cast<std::uint32_t>(count_++);
    of_hash_.emplace(hash, ideal);
    bits_.insert(bits_.end(), set.begin(), set.end());
    steps_.resize(steps_.size() + codes_);
    return ideal;
  }

 private:
  std::size_t words_;
  std::size_t codes_;
  std::vector<std::uint64_t> bits_;
  std::vector<Step> steps_;
  std::size_t count_ = 0;
  std::unordered_multimap<std::uint64_t, std::uint32_t> of_hash_;
};

/// Vertices are numbered in a topological order, so that the vertices of a part can be added in ascending order and
/// every part is met once.
class OrderedSearch {
 public:
  OrderedSearch(const CutModel& model, const Budget& budget, std::size_t most_entries, OrderedAnswer start)
      : model_(model),
        budget_(budget),
        counts_(model),
        most_ideals_(most_entries / counts_.size()),
        nets_of_(model.nets_of_vertices()),
        before_(model.vertex_count()),
        after_(model.vertex_count()),
        ideals_(model.vertex_count(), counts_.size()),
        answer_(std::move(start)) {
    for (const auto& [a, b] : model.precedence) {
      after_[a].push_back(b);
      before_[b].push_back(a);
    }
    std::uint64_t seed = 0x9e3779b97f4a7c15;
    for (Vertex vertex = 0; vertex < model.vertex_count(); ++vertex) {
      // splitmix64 (Steele, Lea, Flood 2014)
      std::uint64_t x = seed += 0x9e3779b97f4a7c15;
      x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
      x = (x ^ x >> 27) * 0x94d049bb133111eb;
      key_.push_back(x ^ x >> 31);
    }
    weigh_kinds();
  }

  OrderedAnswer run() {
    answer_.proven = false;
    by_size_.resize(model_.vertex_count() + 1);
    std::vector<std::uint64_t> empty((model_.vertex_count() + 63) / 64);
    bool is_new = false;
    by_size_[0].push_back(ideals_.find_or_add(empty, 0, is_new));
    ideals_.steps(0)[0].value = 0;
    set_ = empty;
    state_.assign(model_.vertex_count(), State::kUndecided);
    inside_.assign(model_.nets.size(), 0);
    outside_.assign(model_.nets.size(), 0);
    missing_.assign(model_.vertex_count(), 0);
    for (std::size_t size = 0; size < model_.vertex_count() && !stopped_; ++size) {
      for (std::size_t i = 0; i < by_size_[size].size() && !stopped_; ++i) expand(by_size_[size][i]);
      by_size_[size] = {};
    }
    answer_.proven = !stopped_;
    return std::move(answer_);
  }

 private:
  enum class State : std::uint8_t { kUndecided, kBefore, kInPart, kAfter };

  [[nodiscard]] double limit() const { return answer_.value * (1 - kTolerance); }

  /// Work of kind 0 is the measure of what is left to do; a device of another kind takes off, per unit of time, at
  /// most the largest ratio of the work of a vertex on kind 0 to that on it.
  void weigh_kinds() {
    speed_.assign(model_.kinds.size(), 0);
    measure_.assign(model_.vertex_count(), 0);
    for (Vertex vertex = 0; vertex < model_.vertex_count(); ++vertex) {
      const double first = model_.kinds[0].work[vertex];
      measure_[vertex] = first < kInfinity ? first : 0;
      left_total_ += measure_[vertex];
      for (std::size_t kind = 0; kind < model_.kinds.size(); ++kind) {
        if (measure_[vertex] > 0)
          speed_[kind] = std::max(speed_[kind], measure_[vertex] / model_.kinds[kind].work[vertex]);
      }
    }
  }

  /// Most of the measure that the devices not used yet can do within the limit.
  [[nodiscard]] double power_left(std::size_t code) const {
    double power = 0;
    for (std::size_t kind = 0; kind < model_.kinds.size(); ++kind) {
      const std::size_t left = counts_.left(code, kind);
      if (left > 0) power += static_cast<double>(left) * speed_[kind];
    }
    return power;
  }

  void expand(std::uint32_t ideal) {
    ideal_ = ideal;
    double done = 0;
    std::uint64_t hash = 0;
    size_ = 0;
    const std::uint64_t* bits = ideals_.bits(ideal);
    std::copy(bits, bits + set_.size(), set_.begin());
    std::fill(inside_.begin(), inside_.end(), 0);
    std::fill(outside_.begin(), outside_.end(), 0);
    for (Vertex vertex = 0; vertex < model_.vertex_count(); ++vertex) {
      const bool is_in = ideals_.has(ideal, vertex);
      state_[vertex] = is_in ? State::kBefore : State::kUndecided;
      if (!is_in) continue;
      ++size_;
      done += measure_[vertex];
      hash ^= key_[vertex];
      for (const std::uint32_t n : nets_of_[vertex]) ++outside_[n];
    }
    std::vector<Vertex> ready;
    for (Vertex vertex = 0; vertex < model_.vertex_count(); ++vertex) {
      missing_[vertex] = 0;
      for (const Vertex other : before_[vertex]) {
        if (state_[other] != State::kBefore) ++missing_[vertex];
      }
      if (state_[vertex] == State::kUndecided && missing_[vertex] == 0) ready.push_back(vertex);
    }
    const double left = left_total_ - done;
    for (kind_ = 0; kind_ < model_.kinds.size() && !stopped_; ++kind_) {
      double power = -1;
      for (std::size_t code = 0; code < counts_.size(); ++code) {
        if (ideals_.steps(ideal)[code].value >= limit() || counts_.left(code, kind_) == 0) continue;
        power = std::max(power, power_left(counts_.with(code, kind_)));
      }
      if (power < 0) continue;
      power_ = power;
      part_ = {};
      part_.left = left;
      part_.hash = hash;
      extend(ready);
    }
  }

  /// Sums over the part that is being built.
  struct Part {
    double work = 0;
    double bytes = 0;
    double cut = 0;      ///< nets with a pin inside and one outside
    double certain = 0;  ///< of these, the ones with a pin before the part or decided to come after it
    double left = 0;     ///< measure of what neither the ideal nor the part holds
    std::uint64_t hash = 0;
  };

  /// Offers every part that adds some of the ready vertices, and what they make ready, to the current one.
  void extend(const std::vector<Vertex>& ready) {
    const DeviceKind& kind = model_.kinds[kind_];
    std::size_t passed = 0;
    for (; passed < ready.size() && !stopped_; ++passed) {
      if ((++answer_.work & 1023U) == 0 && out_of_budget()) break;
      const Vertex vertex = ready[passed];
      const Part before = part_;
      include(vertex);
      if (part_.work + (kind.pays_transfers ? part_.certain : 0) < limit() && part_.bytes <= kind.capacity) {
        offer();
        std::vector<Vertex> next(ready.begin() + static_cast<std::ptrdiff_t>(passed) + 1, ready.end());
        for (const Vertex other : after_[vertex]) {
          if (missing_[other] == 0) next.insert(std::lower_bound(next.begin(), next.end(), other), other);
        }
        if (!next.empty()) extend(next);
      }
      leave(vertex);
      part_ = before;
      pass(vertex);
      if (kind.pays_transfers && part_.work + part_.certain >= limit()) {
        ++passed;
        break;
      }
    }
    while (passed > 0) unpass(ready[--passed]);
  }

  bool out_of_budget() {
    stopped_ = budget_.expired() || (budget_.work_limit() && answer_.work >= *budget_.work_limit()) ||
               ideals_.count() > most_ideals_;
    return stopped_;
  }

  void include(Vertex vertex) {
    state_[vertex] = State::kInPart;
    part_.work += model_.kinds[kind_].work[vertex];
    part_.bytes += model_.bytes[vertex];
    part_.left -= measure_[vertex];
    part_.hash ^= key_[vertex];
    set_[vertex / 64] |= std::uint64_t{1} << vertex % 64;
    ++size_;
    for (const std::uint32_t n : nets_of_[vertex]) {
      const Net& net = model_.nets[n];
      if (++inside_[n] == 1) {
        part_.cut += net.cost;
        if (outside_[n] > 0) part_.certain += net.cost;
      }
      if (inside_[n] == net.pins.size()) part_.cut -= net.cost;
    }
    for (const Vertex other : after_[vertex]) --missing_[other];
  }

  /// Undoes include() except for the sums, which the caller has kept.
  void leave(Vertex vertex) {
    set_[vertex / 64] &= ~(std::uint64_t{1} << vertex % 64);
    --size_;
    for (const std::uint32_t n : nets_of_[vertex]) --inside_[n];
    for (const Vertex other : after_[vertex]) ++missing_[other];
  }

  /// The vertex comes after the part.
  void pass(Vertex vertex) {
    state_[vertex] = State::kAfter;
    for (const std::uint32_t n : nets_of_[vertex]) {
      if (outside_[n]++ == 0 && inside_[n] > 0) part_.certain += model_.nets[n].cost;
    }
  }
  void unpass(Vertex vertex) {
    state_[vertex] = State::kUndecided;
    for (const std::uint32_t n : nets_of_[vertex]) --outside_[n];
  }

  /// The part may be what the next device holds.
  void offer() {
    const DeviceKind& kind = model_.kinds[kind_];
    const double load = part_.work + (kind.pays_transfers ? std::max(0.0, part_.cut) : 0);
    if (load >= limit() || part_.left > power_ * limit()) return;
    bool is_new = false;
    const std::uint32_t to = ideals_.find_or_add(set_, part_.hash, is_new);
    if (is_new) by_size_[size_].push_back(to);
    const Ideals::Step* source = ideals_.steps(ideal_);
    Ideals::Step* target = ideals_.steps(to);
    const bool is_complete = size_ == model_.vertex_count();
    for (std::size_t code = 0; code < counts_.size(); ++code) {
      if (source[code].value >= limit() || counts_.left(code, kind_) == 0) continue;
      Ideals::Step& step = target[counts_.with(code, kind_)];
      const double value = std::max(source[code].value, load);
      if (value >= step.value) continue;
      step = {value, ideal_, static_cast<std::uint32_t>(kind_)};
      if (is_complete && value < limit()) {
        answer_.value = value;
        trace(to, counts_.with(code, kind_));
      }
    }
  }

  void trace(std::uint32_t ideal, std::size_t code) {
    answer_.assignment.emplace(model_.vertex_count());
    while (ideal != 0) {
      const Ideals::Step step = ideals_.steps(ideal)[code];
      code = counts_.without(code, step.kind);
      const std::size_t device = model_.first_device(step.kind) + counts_.used(code, step.kind);
      for (Vertex vertex = 0; vertex < model_.vertex_count(); ++vertex) {
        if (ideals_.has(ideal, vertex) && !ideals_.has(step.from, vertex)) {
          (*answer_.assignment)[vertex] = static_cast<std::uint32_t>(device);
        }
      }
      ideal = step.from;
    }
  }

  const CutModel& model_;
  const Budget& budget_;
  DeviceCounts counts_;
  const std::size_t most_ideals_;
  std::vector<std::vector<std::uint32_t>> nets_of_;
  std::vector<std::vector<Vertex>> before_;
  std::vector<std::vector<Vertex>> after_;
  std::vector<std::uint64_t> key_;
  std::vector<double> speed_;    ///< by kind
  std::vector<double> measure_;  ///< by vertex
  double left_total_ = 0;
  Ideals ideals_;
  std::vector<std::vector<std::uint32_t>> by_size_;
  OrderedAnswer answer_;
  bool stopped_ = false;

  // The ideal that is being expanded, the kind of the next device, and what it holds.
  std::uint32_t ideal_ = 0;
  std::size_t kind_ = 0;
  double power_ = 0;
  Part part_;
  std::uint32_t size_ = 0;
  std::vector<std::uint64_t> set_;
  std::vector<State> state_;
  std::vector<std::size_t> inside_;   ///< by net: pins in the part
  std::vector<std::size_t> outside_;  ///< by net: pins before the part or decided to come after it
  std::vector<std::size_t> missing_;  ///< by vertex: predecessors that neither the ideal nor the part holds
};

/// The model with its vertices numbered in this order.
Contraction renumber(const CutModel& model, const std::vector<Vertex>& order) {
  Contraction result;
  result.vertex_of.resize(order.size());
  for (Vertex i = 0; i < order.size(); ++i) result.vertex_of[order[i]] = i;
  CutModel& copy = result.model;
  copy = model;
  for (Vertex vertex = 0; vertex < order.size(); ++vertex) {
    copy.bytes[result.vertex_of[vertex]] = model.bytes[vertex];
    for (std::size_t k = 0; k < model.kinds.size(); ++k) {
      copy.kinds[k].work[result.vertex_of[vertex]] = model.kinds[k].work[vertex];
    }
  }
  for (Net& net : copy.nets) {
    for (Vertex& vertex : net.pins) vertex = result.vertex_of[vertex];
    std::sort(net.pins.begin(), net.pins.end());
  }
  for (auto& [a, b] : copy.precedence) {
    a = result.vertex_of[a];
    b = result.vertex_of[b];
  }
  return result;
}

}  // namespace

OrderedAnswer best_ordered(const CutModel& model, const Budget& budget, std::size_t most_entries) {
  const Contraction acyclic = merge_circles(model);
  OrderedAnswer first = cut_orders(acyclic.model, budget);
  if (first.assignment) first.assignment = acyclic.expand(*first.assignment);
  // What is merged depends on the value to be beaten, so the assignment in hand is kept aside.
  const Contraction small = contract(acyclic.model, first.value);
  OrderedAnswer start = cut_orders(small.model, budget);
  start.work += first.work;
  if (first.value < start.value) start.value = first.value;
  const Contraction numbered = renumber(small.model, topological_orders(small.model).back());
  if (start.assignment) {
    Assignment moved(start.assignment->size());
    for (Vertex vertex = 0; vertex < moved.size(); ++vertex)
      moved[numbered.vertex_of[vertex]] = (*start.assignment)[vertex];
    start.assignment = std::move(moved);
  }
  const double start_value = start.value;
  OrderedAnswer answer = OrderedSearch(numbered.model, budget, most_entries, std::move(start)).run();
  if (answer.value == start_value && first.value == start_value) {
    answer.assignment = std::move(first.assignment);
  } else if (answer.assignment) {
    answer.assignment = acyclic.expand(small.expand(numbered.expand(*answer.assignment)));
  }
  return answer;
}

}  // namespace opweave::partition
