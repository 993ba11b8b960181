// Orders of the work of a few devices, against all orders of small examples.
#include "bounds/device_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <limits>
#include <map>
#include <optional>

#include "support/random_problems.h"

namespace opweave::bounds {
namespace {

constexpr std::size_t kManySteps = 1'000'000;

/// The least makespan, from one that is proven to be too short to the next.
Nanoseconds climb(const DeviceWork& work) {
  DeviceOrder order(work);
  Nanoseconds known = 0;
  for (Nanoseconds value = 0; (value = order.least_from(known, kManySteps, Budget()).value()) > known;) known = value;
  return known;
}

/// Forward, a time elsewhere, backward: two copies, with memory for so many of them.
DeviceWork there_and_back(std::int64_t capacity) {
  DeviceWork work;
  work.operators = {{0, 2, {0, 0}, {0, 0}, {}}, {0, 1, {0, 0}, {0, 0}, {{0, 3}}}};
  work.values = {{0, 1, {0}, {1}}};
  work.capacities = {capacity};
  return work;
}

TEST(DeviceOrder, a_copy_that_waits_for_memory_begins_when_the_one_before_has_come_back) {
  // Memory for one: 2 + 3 + 1, twice. For two: both forwards until 4, the second is back at 4 + 3, then 1.
  EXPECT_EQ(climb(there_and_back(1)), 12);
  EXPECT_EQ(climb(there_and_back(2)), 8);
}

TEST(DeviceOrder, heads_and_tails_count) {
  DeviceWork work = there_and_back(1);
  work.operators[0].heads = {5, 5};
  work.operators[1].tails = {0, 7};
  EXPECT_EQ(climb(work), 5 + 12 + 7);
}

TEST(DeviceOrder, says_that_a_makespan_can_be_had_or_what_is_needed_or_nothing_when_it_gives_up) {
  DeviceOrder order(there_and_back(1));
  EXPECT_EQ(order.least_from(12, kManySteps, Budget()), 12);
  EXPECT_EQ(order.least_from(11, kManySteps, Budget()), 12);
  EXPECT_EQ(order.least_from(11, 1, Budget()), std::nullopt);
}

/// Tries every order in which copies can begin.
class AllOrders {
 public:
  explicit AllOrders(const DeviceWork& work)
      : work_(work), counts_(work.operators.size(), 0), free_(work.streams, 0), ends_(work.operators.size()) {}

  std::optional<Nanoseconds> best() {
    go(0);
    if (best_ == std::numeric_limits<Nanoseconds>::max()) return std::nullopt;
    return best_;
  }

 private:
  void go(Nanoseconds makespan) {
    if (makespan >= best_) return;
    bool any = false;
    for (Index op = 0; op < counts_.size(); ++op) {
      const DeviceWork::Operator& o = work_.operators[op];
      const Index copy = counts_[op];
      if (copy == o.heads.size()) continue;
      any = true;
      Nanoseconds start = std::max(free_[o.stream], o.heads[copy]);
      bool is_ready = true;
      for (const DeviceWork::Lag& lag : o.after) {
        is_ready = is_ready && counts_[lag.from] > copy;
        if (is_ready) start = std::max(start, ends_[lag.from][copy] + lag.delay);
      }
      if (!is_ready || !fits(op)) continue;
      const Nanoseconds before = free_[o.stream];
      free_[o.stream] = start + o.duration;
      ++counts_[op];
      ends_[op].push_back(free_[o.stream]);
      go(std::max(makespan, free_[o.stream] + o.tails[copy]));
      ends_[op].pop_back();
      --counts_[op];
      free_[o.stream] = before;
    }
    if (!any) best_ = makespan;
  }

  [[nodiscard]] bool fits(Index op) const {
    std::map<Index, std::int64_t> held;
    for (const DeviceWork::Value& value : work_.values) {
      const std::size_t copies = work_.operators[value.takers.front()].heads.size();
      for (std::size_t copy = 0; copy < copies; ++copy) {
        const bool is_taken = std::any_of(value.takers.begin(), value.takers.end(), [&](Index taker) {
          return counts_[taker] > copy || (taker == op && counts_[taker] == copy);
        });
        const bool is_kept = std::any_of(value.keepers.begin(), value.keepers.end(),
                                         [&](Index keeper) { return counts_[keeper] <= copy; });
        if (is_taken && is_kept) held[value.stream] += value.bytes;
      }
    }
    return std::all_of(held.begin(), held.end(),
                       [&](const auto& entry) { return entry.second <= work_.capacities[entry.first]; });
  }

  const DeviceWork& work_;
  std::vector<Index> counts_;
  std::vector<Nanoseconds> free_;
  std::vector<std::vector<Nanoseconds>> ends_;
  Nanoseconds best_ = std::numeric_limits<Nanoseconds>::max();
};

DeviceWork random_work(testing::Dice& dice) {
  DeviceWork work;
  work.streams = static_cast<Index>(dice.roll(1, 2));
  const auto copies = static_cast<std::size_t>(dice.roll(1, 3));
  const std::int64_t operators = copies == 3 ? dice.roll(2, 3) : dice.roll(2, 4);
  for (Index op = 0; op < operators; ++op) {
    DeviceWork::Operator& o = work.operators.emplace_back();
    o.stream = static_cast<Index>(dice.roll(0, work.streams - 1));
    o.duration = dice.roll(1, 4);
    for (std::size_t copy = 0; copy < copies; ++copy) {
      o.heads.push_back(dice.chance(70) ? 0 : dice.roll(0, 8));
      o.tails.push_back(dice.chance(70) ? 0 : dice.roll(0, 8));
    }
    // As bounds by rank are: no later copy may start earlier, or have the longer tail.
    std::sort(o.heads.begin(), o.heads.end());
    std::sort(o.tails.rbegin(), o.tails.rend());
    for (Index from = 0; from < op; ++from) {
      if (dice.chance(60)) o.after.push_back({from, dice.chance(50) ? 0 : dice.roll(1, 9)});
    }
  }
  for (Index stream = 0; stream < work.streams; ++stream) {
    work.capacities.push_back(dice.roll(2, 5));
    for (std::int64_t v = dice.roll(1, 2); v > 0; --v) {
      DeviceWork::Value value{stream, dice.roll(1, 2), {}, {}};
      for (Index op = 0; op < operators; ++op) {
        if (work.operators[op].stream != stream) continue;
        if (value.takers.empty() || dice.chance(40)) value.takers.push_back(op);
        if (dice.chance(60)) value.keepers.push_back(op);
      }
      if (!value.takers.empty() && !value.keepers.empty()) work.values.push_back(std::move(value));
    }
  }
  return work;
}

TEST(DeviceOrder, finds_what_the_best_of_all_orders_takes) {
  int compared = 0;
  int impossible = 0;
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    testing::Dice dice(seed);
    const DeviceWork work = random_work(dice);
    const std::optional<Nanoseconds> best = AllOrders(work).best();
    if (best) {
      ++compared;
      ASSERT_EQ(climb(work), *best) << "seed " << seed;
    } else {
      ++impossible;
      ASSERT_EQ(DeviceOrder(work).least_from(1'000'000, kManySteps, Budget()), DeviceOrder::kNoOrder)
          << "seed " << seed;
    }
  }
  std::cout << compared << " works with an order, " << impossible << " without\n";
  EXPECT_GT(compared, 1000);
  EXPECT_GT(impossible, 50);
}

}  // namespace
}  // namespace opweave::bounds
