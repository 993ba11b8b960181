#include "opweave/budget.h"

#include <gtest/gtest.h>

namespace opweave {
namespace {

TEST(Budget, ends_when_what_was_wanted_is_there_without_being_interrupted) {
  std::atomic<bool> is_there = false;
  const Budget budget = Budget(100.0, 7).until(&is_there);
  EXPECT_FALSE(budget.expired());
  is_there = true;
  EXPECT_TRUE(budget.expired());
  EXPECT_TRUE(budget.share(0.5).expired());
  EXPECT_FALSE(budget.stopped());
  EXPECT_EQ(budget.work_limit(), 7U);
}

TEST(Budget, keeps_time_for_what_follows) {
  EXPECT_LT(*Budget(100.0, std::nullopt).keeping(60).remaining(), 40.1);
  EXPECT_TRUE(Budget(1.0, std::nullopt).keeping(2).expired());
  EXPECT_FALSE(Budget().keeping(60).remaining().has_value());
}

TEST(Budget, takes_another_work_limit_and_keeps_the_clock) {
  const Budget budget = Budget(100.0, 7).with_work(3);
  EXPECT_EQ(budget.work_limit(), 3U);
  EXPECT_GT(*budget.remaining(), 90);
}

}  // namespace
}  // namespace opweave
