#include "list_scheduling/range_max.h"

#include <gtest/gtest.h>

#include <random>

namespace opweave {
namespace {

TEST(RangeMax, agrees_with_plain_arrays_on_random_updates) {
  std::mt19937_64 random(7);
  for (std::size_t size = 1; size <= 40; ++size) {
    RangeMax tree(size);
    std::vector<std::int64_t> plain(size, 0);
    std::vector<bool> removed(size, false);
    for (int step = 0; step < 200; ++step) {
      std::size_t first = random() % (size + 1);
      std::size_t last = random() % (size + 1);
      if (first > last) std::swap(first, last);
      if (random() % 2 == 0) {
        const auto amount = static_cast<std::int64_t>(random() % 100) - 50;
        tree.add(first, last, amount);
        for (std::size_t i = first; i < last; ++i) plain[i] += amount;
      } else if (random() % 8 == 0 && first < last) {
        if (!removed[first]) tree.remove(first);
        removed[first] = true;
      } else {
        std::int64_t expected = RangeMax::kLowest;
        bool any = false;
        for (std::size_t i = first; i < last; ++i) {
          if (removed[i]) continue;
          expected = std::max(expected, plain[i]);
          any = true;
        }
        if (any) {
          EXPECT_EQ(tree.max(first, last), expected);
        } else {
          EXPECT_LT(tree.max(first, last), -1'000'000'000'000'000);
        }
      }
    }
  }
}

}  // namespace
}  // namespace opweave
