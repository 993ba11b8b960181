#include "partition/ordered.h"

#include <algorithm>
#include <unordered_map>

#include "core/infinity.h"
#include "partition/device_counts.h"
#include "partition/topological.h"

namespace opweave::partition {
namespace {

/// Sets of units as words of bits, each kept once, with what is known about it.
class Ideals {
 public:
  /// How the best way to an ideal reaches it: its last device holds the ideal without `from`.
  struct Step {
    double value = kInfinity;
    std::uint32_t from = 0;
    std::uint32_t kind = 0;
  };

  Ideals(std::size_t units, std::size_t codes) : words_((units + 63) / 64), codes_(codes) {}

  [[nodiscard]] std::size_t count() const { return count_; }
  [[nodiscard]] const std::uint64_t* bits(std::uint32_t ideal) const { return bits_.data() + ideal * words_; }
  [[nodiscard]] bool has(std::uint32_t ideal, Unit unit) const {
    return (bits(ideal)[unit / 64] >> unit % 64 & 1) != 0;
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

/// Units are numbered in a topological order, so that the units of a part can be added in ascending order and every
/// part is met once.
class OrderedSearch {
 public:
  OrderedSearch(const CutModel& model, const Budget& budget, std::size_t most_entries, OrderedAnswer start)
      : model_(model),
        budget_(budget),
        counts_(model),
        most_ideals_(most_entries / counts_.size()),
        nets_of_(model.nets_of_units()),
        before_(model.unit_count()),
        after_(model.unit_count()),
        ideals_(model.unit_count(), counts_.size()),
        answer_(std::move(start)) {
    for (const auto& [a, b] : model.precedence) {
      after_[a].push_back(b);
      before_[b].push_back(a);
    }
    std::uint64_t seed = 0x9e3779b97f4a7c15;
    for (Unit unit = 0; unit < model.unit_count(); ++unit) {
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
    by_size_.resize(model_.unit_count() + 1);
    std::vector<std::uint64_t> empty((model_.unit_count() + 63) / 64);
    bool is_new = false;
    by_size_[0].push_back(ideals_.find_or_add(empty, 0, is_new));
    ideals_.steps(0)[0].value = 0;
    set_ = empty;
    state_.assign(model_.unit_count(), State::kUndecided);
    inside_.assign(model_.nets.size(), 0);
    outside_.assign(model_.nets.size(), 0);
    missing_.assign(model_.unit_count(), 0);
    for (std::size_t size = 0; size < model_.unit_count() && !stopped_; ++size) {
      for (std::size_t i = 0; i < by_size_[size].size() && !stopped_; ++i) expand(by_size_[size][i]);
      by_size_[size] = {};
    }
    answer_.proven = !stopped_;
    return std::move(answer_);
  }

 private:
  enum class State : std::uint8_t { kUndecided, kBefore, kInPart, kAfter };

  [[nodiscard]] double limit() const { return answer_.value * (1 - kTolerance); }

  /// Work of kind 0 is the measure of what is left to do; a device of another kind takes off, per unit of time, at most
  /// the largest ratio of the work of a unit on kind 0 to that on it.
  void weigh_kinds() {
    speed_.assign(model_.kinds.size(), 0);
    measure_.assign(model_.unit_count(), 0);
    for (Unit unit = 0; unit < model_.unit_count(); ++unit) {
      const double first = model_.kinds[0].work[unit];
      measure_[unit] = first < kInfinity ? first : 0;
      left_total_ += measure_[unit];
      for (std::size_t kind = 0; kind < model_.kinds.size(); ++kind) {
        if (measure_[unit] > 0) speed_[kind] = std::max(speed_[kind], measure_[unit] / model_.kinds[kind].work[unit]);
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
    for (Unit unit = 0; unit < model_.unit_count(); ++unit) {
      const bool is_in = ideals_.has(ideal, unit);
      state_[unit] = is_in ? State::kBefore : State::kUndecided;
      if (!is_in) continue;
      ++size_;
      done += measure_[unit];
      hash ^= key_[unit];
      for (const std::uint32_t n : nets_of_[unit]) ++outside_[n];
    }
    std::vector<Unit> ready;
    for (Unit unit = 0; unit < model_.unit_count(); ++unit) {
      missing_[unit] = 0;
      for (const Unit other : before_[unit]) {
        if (state_[other] != State::kBefore) ++missing_[unit];
      }
      if (state_[unit] == State::kUndecided && missing_[unit] == 0) ready.push_back(unit);
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

  /// Offers every part that adds some of the ready units, and what they make ready, to the current one.
  void extend(const std::vector<Unit>& ready) {
    const DeviceKind& kind = model_.kinds[kind_];
    std::size_t passed = 0;
    for (; passed < ready.size() && !stopped_; ++passed) {
      if ((++answer_.work & 1023U) == 0 && out_of_budget()) break;
      const Unit unit = ready[passed];
      const Part before = part_;
      include(unit);
      if (part_.work + (kind.pays_transfers ? part_.certain : 0) < limit() && part_.bytes <= kind.capacity) {
        offer();
        std::vector<Unit> next(ready.begin() + static_cast<std::ptrdiff_t>(passed) + 1, ready.end());
        for (const Unit other : after_[unit]) {
          if (missing_[other] == 0) next.insert(std::lower_bound(next.begin(), next.end(), other), other);
        }
        if (!next.empty()) extend(next);
      }
      leave(unit);
      part_ = before;
      pass(unit);
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

  void include(Unit unit) {
    state_[unit] = State::kInPart;
    part_.work += model_.kinds[kind_].work[unit];
    part_.bytes += model_.bytes[unit];
    part_.left -= measure_[unit];
    part_.hash ^= key_[unit];
    set_[unit / 64] |= std::uint64_t{1} << unit % 64;
    ++size_;
    for (const std::uint32_t n : nets_of_[unit]) {
      const Net& net = model_.nets[n];
      if (++inside_[n] == 1) {
        part_.cut += net.cost;
        if (outside_[n] > 0) part_.certain += net.cost;
      }
      if (inside_[n] == net.pins.size()) part_.cut -= net.cost;
    }
    for (const Unit other : after_[unit]) --missing_[other];
  }

  /// Undoes include() except for the sums, which the caller has kept.
  void leave(Unit unit) {
    set_[unit / 64] &= ~(std::uint64_t{1} << unit % 64);
    --size_;
    for (const std::uint32_t n : nets_of_[unit]) --inside_[n];
    for (const Unit other : after_[unit]) ++missing_[other];
  }

  /// The unit comes after the part.
  void pass(Unit unit) {
    state_[unit] = State::kAfter;
    for (const std::uint32_t n : nets_of_[unit]) {
      if (outside_[n]++ == 0 && inside_[n] > 0) part_.certain += model_.nets[n].cost;
    }
  }
  void unpass(Unit unit) {
    state_[unit] = State::kUndecided;
    for (const std::uint32_t n : nets_of_[unit]) --outside_[n];
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
    const bool is_complete = size_ == model_.unit_count();
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
    answer_.assignment.emplace(model_.unit_count());
    while (ideal != 0) {
      const Ideals::Step step = ideals_.steps(ideal)[code];
      code = counts_.without(code, step.kind);
      const std::size_t device = model_.first_device(step.kind) + counts_.used(code, step.kind);
      for (Unit unit = 0; unit < model_.unit_count(); ++unit) {
        if (ideals_.has(ideal, unit) && !ideals_.has(step.from, unit)) {
          (*answer_.assignment)[unit] = static_cast<std::uint32_t>(device);
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
  std::vector<std::vector<Unit>> before_;
  std::vector<std::vector<Unit>> after_;
  std::vector<std::uint64_t> key_;
  std::vector<double> speed_;    ///< by kind
  std::vector<double> measure_;  ///< by unit
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
  std::vector<std::size_t> missing_;  ///< by unit: predecessors that neither the ideal nor the part holds
};

/// The model with its units numbered in this order.
Contraction renumber(const CutModel& model, const std::vector<Unit>& order) {
  Contraction result;
  result.unit_of.resize(order.size());
  for (Unit i = 0; i < order.size(); ++i) result.unit_of[order[i]] = i;
  CutModel& copy = result.model;
  copy = model;
  for (Unit unit = 0; unit < order.size(); ++unit) {
    copy.bytes[result.unit_of[unit]] = model.bytes[unit];
    for (std::size_t k = 0; k < model.kinds.size(); ++k) {
      copy.kinds[k].work[result.unit_of[unit]] = model.kinds[k].work[unit];
    }
  }
  for (Net& net : copy.nets) {
    for (Unit& unit : net.pins) unit = result.unit_of[unit];
    std::sort(net.pins.begin(), net.pins.end());
  }
  for (auto& [a, b] : copy.precedence) {
    a = result.unit_of[a];
    b = result.unit_of[b];
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
    for (Unit unit = 0; unit < moved.size(); ++unit) moved[numbered.unit_of[unit]] = (*start.assignment)[unit];
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
