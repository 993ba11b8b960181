#include "bounds/device_loads.h"

#include <gtest/gtest.h>

#include "support/random_problems.h"

namespace opweave::bounds {
namespace {

TEST(DeviceLoads, knows_which_sums_of_groups_exist) {
  // 3, 3 and 5: sums 0, 3, 5, 6, 8, 11.
  const DeviceLoads loads({{3, 0}, {5, 0}, {3, 0}});
  EXPECT_EQ(loads.total(), 11);
  EXPECT_EQ(loads.most_within(4), 3);
  EXPECT_EQ(loads.most_within(7), 6);
  EXPECT_EQ(loads.most_below(6), 5);
  EXPECT_EQ(loads.most_within(100), 11);
  EXPECT_EQ(loads.most_within(-1), 0);
}

TEST(DeviceLoads, gives_up_sums_where_they_are_too_many) {
  std::vector<DeviceLoads::Part> parts;
  for (Nanoseconds bit = 1; bit < (Nanoseconds{1} << 40); bit *= 2) parts.push_back({2 * bit, 0});
  const DeviceLoads loads(parts);
  EXPECT_EQ(loads.most_within(1001), 1001);  // 1000 is the largest sum: still an upper bound
}

TEST(DeviceLoads, takes_the_groups_with_the_least_parameters_per_work_first) {
  // 4 ns for 2 bytes and 4 ns for 8 bytes: 6 ns cost at least 2 + 8 / 2.
  const DeviceLoads loads({{4, 8}, {4, 2}});
  EXPECT_EQ(loads.bytes_for(0), 0);
  EXPECT_EQ(loads.bytes_for(4), 2);
  EXPECT_EQ(loads.bytes_for(6), 6);
  EXPECT_EQ(loads.bytes_for(8), 10);
}

TEST(DeviceLoads, knows_whether_groups_can_be_packed) {
  const DeviceLoads loads({{3, 0}, {3, 0}, {5, 0}, {5, 0}});
  EXPECT_TRUE(loads.can_be_packed({8, 8}));
  EXPECT_TRUE(loads.can_be_packed({10, 6}));
  EXPECT_FALSE(loads.can_be_packed({9, 7}));  // 8 and 6 at most
  EXPECT_FALSE(loads.can_be_packed({7, 7}));  // together not enough
  EXPECT_TRUE(DeviceLoads({}).can_be_packed({0}));
}

TEST(DeviceLoads, packs_as_trying_everything_does) {
  testing::Dice dice(7);
  int packed = 0;
  for (int round = 0; round < 500; ++round) {
    std::vector<DeviceLoads::Part> parts(static_cast<std::size_t>(dice.roll(1, 7)));
    for (DeviceLoads::Part& part : parts) part.work = dice.roll(2, 5);
    std::vector<Nanoseconds> most(static_cast<std::size_t>(dice.roll(1, 3)));
    for (Nanoseconds& each : most) each = dice.roll(0, 14);
    std::vector<Nanoseconds> left = most;
    const auto fits = [&](const auto& self, std::size_t part) -> bool {
      if (part == parts.size()) return true;
      for (Nanoseconds& each : left) {
        if (each < parts[part].work) continue;
        each -= parts[part].work;
        const bool rest = self(self, part + 1);
        each += parts[part].work;
        if (rest) return true;
      }
      return false;
    };
    const bool can = fits(fits, 0);
    EXPECT_EQ(DeviceLoads(parts).can_be_packed(most), can);
    packed += can ? 1 : 0;
  }
  EXPECT_GT(packed, 100);
  EXPECT_LT(packed, 400);
}

TEST(DeviceLoads, packs_less_where_devices_with_some_kinds_take_less) {
  // 3, 3, 3, 5 and 7: the kinds beside 3 are 5 (bit 0) and 7 (bit 1).
  const DeviceLoads loads({{3, 0}, {3, 0}, {3, 0}, {5, 0}, {7, 0}});
  ASSERT_EQ(loads.kinds().size(), 3U);
  ASSERT_EQ(loads.kinds()[1].work, 5);
  EXPECT_TRUE(loads.can_be_packed({12, 9}));  // 5 and 7; 3, 3 and 3
  EXPECT_TRUE(loads.can_be_packed({12, 9}, {9, 12, 12, 12}));
  EXPECT_FALSE(loads.can_be_packed({12, 9}, {8, 12, 12, 12}));  // three of 3 are too much for a device of their own
  EXPECT_FALSE(loads.can_be_packed({12, 9}, {9, 12, 12, 11}));  // 5 and 7 are too much for one device
}

}  // namespace
}  // namespace opweave::bounds
