#include "bounds/jackson.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "support/random_problems.h"

namespace opweave::bounds {
namespace {

TEST(Jackson, preempts_for_the_longer_tail) {
  // Job 1 (head 0, 5, tail 0) runs 0-1, job 2 (head 1, 2, tail 6) runs 1-3 and ends the plan at 9,
  // job 1 goes on 3-7.
  EXPECT_EQ(jackson_bound({{0, 5, 0}, {1, 2, 6}}), 9);
  // Without preemption job 2 would wait: 7 + 6 = 13, or job 1 would: 3 + 5 = 8, so 9 is the optimum here.
  EXPECT_EQ(jackson_bound({}), 0);
  EXPECT_EQ(jackson_bound({{3, 0, 4}}), 7);
}

/// max over subsets of (least head + work + least tail): Carlier's form of the same number.
Nanoseconds by_subsets(const std::vector<Job>& jobs) {
  Nanoseconds best = 0;
  for (const Job& head : jobs) {
    for (const Job& tail : jobs) {
      Nanoseconds work = 0;
      for (const Job& job : jobs) {
        if (job.head >= head.head && job.tail >= tail.tail) work += job.duration;
      }
      if (work > 0) best = std::max(best, head.head + work + tail.tail);
    }
  }
  return best;
}

TEST(Jackson, equals_the_largest_bound_of_a_subset_of_the_jobs) {
  testing::Dice dice(5);
  for (int trial = 0; trial < 2000; ++trial) {
    std::vector<Job> jobs;
    for (std::int64_t i = dice.roll(1, 7); i > 0; --i) {
      jobs.push_back({dice.roll(0, 15), dice.roll(1, 6), dice.roll(0, 15)});
    }
    EXPECT_EQ(jackson_bound(jobs), by_subsets(jobs));
  }
}

}  // namespace
}  // namespace opweave::bounds
