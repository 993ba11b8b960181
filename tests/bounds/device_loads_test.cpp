#include "bounds/device_loads.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace opweave::bounds
