/// Which things are connected.
#pragma once

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

namespace opweave {

/// Sets that only ever join. Near O(1) each.
class UnionFind {
 public:
  explicit UnionFind(std::size_t count) : parent_(count) { std::iota(parent_.begin(), parent_.end(), std::size_t{0}); }

  /// One member of the set that speaks for all of them.
  [[nodiscard]] std::size_t find(std::size_t one) {
    while (parent_[one] != one) one = parent_[one] = parent_[parent_[one]];
    return one;
  }
  void join(std::size_t a, std::size_t b) { parent_[find(a)] = find(b); }

 private:
  std::vector<std::size_t> parent_;
};

}  // namespace opweave
