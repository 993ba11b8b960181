#include "planner/starts.h"

#include <gtest/gtest.h>

namespace opweave {
namespace {

Schedule on_mode(ModeIndex mode, Duration start) {
  Schedule schedule;
  schedule.tasks = {{mode, start}};
  return schedule;
}

TEST(Starts, hold_the_shortest_schedule_of_each_placement) {
  std::vector<Start> starts;
  add_start(starts, {on_mode(0, Duration(3)), Duration(5), "first"});
  add_start(starts, {on_mode(1, Duration(0)), Duration(9), "elsewhere", false});
  add_start(starts, {on_mode(0, Duration(4)), Duration(6), "longer"});
  ASSERT_EQ(starts.size(), 2U);
  EXPECT_EQ(starts.front().method, "first");
  add_start(starts, {on_mode(0, Duration(0)), Duration(2), "shorter"});
  ASSERT_EQ(starts.size(), 2U);
  EXPECT_EQ(starts.front().method, "shorter");
  EXPECT_EQ(starts.front().makespan, Duration(2));
}

TEST(Starts, a_guessed_placement_stays_one_when_a_search_finds_it_too) {
  std::vector<Start> starts;
  add_start(starts, {on_mode(0, Duration(3)), Duration(5), "guess"});
  add_start(starts, {on_mode(0, Duration(0)), Duration(2), "search", false});
  ASSERT_EQ(starts.size(), 1U);
  EXPECT_TRUE(starts.front().is_guessed);
}

}  // namespace
}  // namespace opweave
