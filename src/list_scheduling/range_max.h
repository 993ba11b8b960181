/// Integers under range addition and range maximum, O(log n) each.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace opweave {

/// n integers, all 0 at first. A segment tree without push-down: each node holds what was added to its
/// whole range and the maximum below it, so the additions of the ancestors count on the way down.
class RangeMax {
 public:
  /// Below every value that sums of additions can reach; the maximum of an empty range.
  static constexpr std::int64_t kLowest = std::numeric_limits<std::int64_t>::min() / 4;

  explicit RangeMax(std::size_t size) : size_(size) {
    while (leaves_ < size) leaves_ *= 2;
    max_.assign(2 * leaves_, 0);
    added_.assign(2 * leaves_, 0);
  }

  /// Adds to the elements first .. last - 1.
  void add(std::size_t first, std::size_t last, std::int64_t amount) {
    if (first < last) add(1, 0, leaves_, first, last, amount);
  }
  /// Maximum of the elements first .. last - 1.
  [[nodiscard]] std::int64_t max(std::size_t first, std::size_t last) const {
    return first < last ? max(1, 0, leaves_, first, last) : kLowest;
  }
  /// Takes an element out: it counts as lowest from now on.
  void remove(std::size_t index) { add(index, index + 1, kLowest / 2); }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  void add(std::size_t node, std::size_t begin, std::size_t end, std::size_t first, std::size_t last,
           std::int64_t amount) {
    if (first <= begin && end <= last) {
      max_[node] += amount;
      added_[node] += amount;
      return;
    }
    const std::size_t middle = (begin + end) / 2;
    if (first < middle) add(2 * node, begin, middle, first, last, amount);
    if (last > middle) add(2 * node + 1, middle, end, first, last, amount);
    max_[node] = std::max(max_[2 * node], max_[2 * node + 1]) + added_[node];
  }
  [[nodiscard]] std::int64_t max(std::size_t node, std::size_t begin, std::size_t end, std::size_t first,
                                 std::size_t last) const {
    if (first <= begin && end <= last) return max_[node];
    const std::size_t middle = (begin + end) / 2;
    std::int64_t result = kLowest;
    if (first < middle) result = max(2 * node, begin, middle, first, last);
    if (last > middle) result = std::max(result, max(2 * node + 1, middle, end, first, last));
    return result + added_[node];
  }

  std::size_t size_;
  std::size_t leaves_ = 1;
  std::vector<std::int64_t> max_;
  std::vector<std::int64_t> added_;
};

}  // namespace opweave
