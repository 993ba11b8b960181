#include "core/in_time.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>

namespace opweave {
namespace {

TEST(InTime, gives_what_is_there_in_time) {
  EXPECT_EQ(in_time(Budget(100.0, std::nullopt), [] { return 7; }), 7);
  EXPECT_EQ(in_time(Budget(), [] { return 7; }), 7);
  EXPECT_EQ(in_time(Budget(std::nullopt, 3), [] { return 7; }), 7);
}

TEST(InTime, gives_up_what_does_not_look_at_the_clock) {
  const auto may_end = std::make_shared<std::atomic<bool>>(false);
  const Budget budget(0.05, std::nullopt);
  const std::optional<int> answer = in_time(budget, [may_end] {
    may_end->wait(false);
    return 7;
  });
  EXPECT_EQ(answer, std::nullopt);
  EXPECT_GE(budget.elapsed(), 0.05);
  EXPECT_LT(budget.elapsed(), latest_answer(budget) + 1);  // a second more for a busy machine
  *may_end = true;
  may_end->notify_all();
}

TEST(InTime, throws_on_what_the_work_throws) {
  const auto fail = []() -> int { throw std::runtime_error("broken"); };
  EXPECT_THROW((void)in_time(Budget(100.0, std::nullopt), fail), std::runtime_error);
  EXPECT_THROW((void)in_time(Budget(), fail), std::runtime_error);
}

}  // namespace
}  // namespace opweave
