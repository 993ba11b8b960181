#include "bounds/packing.h"

#include <algorithm>

namespace opweave::bounds {
namespace {

using Counts = std::vector<std::int64_t>;  ///< groups by class

bool is_at_most(const Counts& a, const Counts& b) {
  return std::equal(a.begin(), a.end(), b.begin(), [](std::int64_t x, std::int64_t y) { return x <= y; });
}

/// Fills device after device. What may be left over after some of them is kept as its least elements: whatever fits
/// after more is left over fits after less.
class Packer {
 public:
  Packer(const PackingProblem& problem, Nanoseconds makespan, std::int64_t work, const Budget& budget)
      : problem_(problem), makespan_(makespan), work_(work), budget_(budget) {}

  bool may_fit() {
    Counts all;
    for (const PackedClass& each : problem_.classes) all.push_back(each.count);
    std::vector<Counts> left = {all};
    for (std::size_t kind = 0; kind < problem_.kinds.size(); ++kind) {
      look_at(kind);
      for (std::int64_t device = 0; device < problem_.kinds[kind].count; ++device) {
        next_.clear();
        for (const Counts& counts : left) fill(kind, counts, 0, time_of(kind, device), capacity_);
        if (work_ >= 0) keep_least();
        if (work_ < 0 || budget_.expired()) return true;
        const bool is_same = next_ == left;  // nothing fits on devices of this kind, or nothing is left
        left.swap(next_);
        if (is_same) break;
      }
    }
    return std::ranges::any_of(left, [](const Counts& counts) {
      return std::ranges::all_of(counts, [](std::int64_t count) { return count == 0; });
    });
  }

 private:
  /// Time of one device of the kind, which has what look_at() found if it begins first.
  [[nodiscard]] Nanoseconds time_of(std::size_t kind, std::int64_t device) const {
    const std::vector<Nanoseconds>& entries = problem_.kinds[kind].entries;
    if (entries.empty() || time_ < 0) return time_;
    return std::min(time_, makespan_ - entries[std::min<std::size_t>(device, entries.size() - 1)]);
  }

  /// Time and memory of the devices of a kind for groups.
  void look_at(std::size_t kind) {
    Nanoseconds head = PackedClass::kNowhere;
    Nanoseconds tail = PackedClass::kNowhere;
    std::int64_t need = std::numeric_limits<std::int64_t>::max();
    for (const PackedClass& each : problem_.classes) {
      if (each.time[kind] == PackedClass::kNowhere) continue;
      head = std::min(head, each.head);
      tail = std::min(tail, each.tail);
      need = std::min(need, each.need);
    }
    time_ = head == PackedClass::kNowhere || tail == PackedClass::kNowhere ? 0 : makespan_ - head - tail;
    const std::optional<std::int64_t>& capacity = problem_.kinds[kind].capacity;
    capacity_ = capacity ? *capacity - std::min(need, *capacity) : std::numeric_limits<std::int64_t>::max();
    if (capacity && need > *capacity) time_ = capacity_ = -1;
  }

  [[nodiscard]] std::int64_t most(const PackedClass& each, std::size_t kind, std::int64_t count, Nanoseconds time,
                                  std::int64_t bytes) const {
    if (each.time[kind] == PackedClass::kNowhere || time < 0 || bytes < 0) return 0;
    if (each.time[kind] > 0) count = std::min(count, time / each.time[kind]);
    if (each.bytes > 0) count = std::min(count, bytes / each.bytes);
    return count;
  }

  /// Adds what is left of `counts` after each way to take from the classes from `first` on; of the last class as many
  /// as there is room for.
  void fill(std::size_t kind, Counts counts, std::size_t first, Nanoseconds time, std::int64_t bytes) {
    const PackedClass& each = problem_.classes[first];
    const std::int64_t most_here = most(each, kind, counts[first], time, bytes);
    const std::int64_t before = counts[first];
    const bool is_last = first + 1 == counts.size();
    for (std::int64_t taken = most_here; taken >= (is_last ? most_here : 0); --taken) {
      if (--work_ < 0) return;
      counts[first] = before - taken;
      if (is_last) {
        next_.push_back(counts);
      } else if (taken == 0) {
        fill(kind, counts, first + 1, time, bytes);
      } else {
        fill(kind, counts, first + 1, time - taken * each.time[kind], bytes - taken * each.bytes);
      }
    }
  }

  void keep_least() {
    std::ranges::sort(next_);
    next_.erase(std::unique(next_.begin(), next_.end()), next_.end());
    std::vector<Counts> least;
    for (Counts& counts : next_) {
      work_ -= static_cast<std::int64_t>(least.size());
      if (work_ < 0) return;
      const auto is_below = [&](const Counts& other) { return is_at_most(other, counts); };
      // Whatever is below it comes before it in this order.
      if (std::ranges::none_of(least, is_below)) least.push_back(std::move(counts));
    }
    next_ = std::move(least);
  }

  const PackingProblem& problem_;
  const Nanoseconds makespan_;
  std::int64_t work_;
  const Budget& budget_;
  Nanoseconds time_ = 0;
  std::int64_t capacity_ = 0;
  std::vector<Counts> next_;
};

}  // namespace

bool may_fit(const PackingProblem& problem, Nanoseconds makespan, std::int64_t work, const Budget& budget) {
  return Packer(problem, makespan, work, budget).may_fit();
}

}  // namespace opweave::bounds
