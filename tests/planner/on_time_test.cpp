#include "planner/on_time.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <new>
#include <stdexcept>
#include <thread>

#include "planner/side_by_side.h"
#include "support/tiny_diamond.h"

namespace opweave {
namespace {

/// A plan if something was told.
PlanResult concluded(std::optional<Told> told) {
  PlanResult result;
  result.reason = told ? PlanResult::Reason::kPlanned : PlanResult::Reason::kNotFound;
  result.detail = told ? told->method : "nothing";
  return result;
}

void tell(const PlannerOptions& options, const std::string& method) {
  const Schedule schedule;
  options.on_progress({0, Duration(65), Duration(), method, &schedule, {}});
}

/// Hangs until it is let go.
struct Hanging {
  std::shared_ptr<std::atomic<bool>> go = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<std::atomic<bool>> ended = std::make_shared<std::atomic<bool>>(false);

  void wait() const {
    while (!*go) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  void let_go() const {
    *go = true;
    while (!*ended) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
};

TEST(OnTime, search_that_does_not_end_is_left_behind_with_what_it_has_told) {
  const Hanging hanging;
  int calls = 0;
  PlannerOptions options;
  options.on_progress = [&calls](const Progress&) { ++calls; };
  const Budget budget(0.05, std::nullopt);
  const PlanResult result = on_time(
      testing::tiny_diamond(), budget, options,
      [hanging](const Problem&, const Budget&, const PlannerOptions& own) {
        tell(own, "first");
        tell(own, "second");
        hanging.wait();
        tell(own, "too late");
        *hanging.ended = true;
        return PlanResult();
      },
      [] {}, concluded);
  EXPECT_EQ(result.detail, "second");
  // The search is left behind 0.2 s after its end.
  EXPECT_LT(budget.elapsed(), 5);
  hanging.let_go();
  EXPECT_EQ(calls, 2);
}

TEST(OnTime, search_that_has_told_of_nothing_gets_until_the_end_of_what_the_limit_allows) {
  const Hanging hanging;
  const Budget budget(0.4, std::nullopt);
  const PlanResult result = on_time(
      testing::tiny_diamond(), budget, {},
      [hanging](const Problem&, const Budget&, const PlannerOptions&) {
        hanging.wait();
        *hanging.ended = true;
        return PlanResult();
      },
      [] {}, concluded);
  EXPECT_EQ(result.detail, "nothing");
  EXPECT_GE(budget.elapsed(), 0.4 * 1.05 + 0.45);
  hanging.let_go();
}

TEST(OnTime, interrupt_reaches_the_search) {
  std::atomic<bool> stop = false;
  Budget budget;
  budget.watch(&stop);
  std::thread user([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    stop = true;
  });
  const PlanResult result = on_time(
      testing::tiny_diamond(), budget, {},
      [](const Problem&, const Budget& own, const PlannerOptions& options) {
        tell(options, "before");
        while (!own.stopped()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        PlanResult home;
        home.detail = "came home";
        return home;
      },
      [] {}, concluded);
  user.join();
  EXPECT_EQ(result.detail, "came home");
}

TEST(OnTime, memory_that_runs_out_is_a_limit_and_keeps_the_plan) {
  const PlanResult result = on_time(
      testing::tiny_diamond(), Budget(), {},
      [](const Problem&, const Budget&, const PlannerOptions& options) -> PlanResult {
        tell(options, "before");
        throw std::bad_alloc();
      },
      [] {}, concluded);
  EXPECT_EQ(result.detail, "before");
  EXPECT_EQ(result.limit, "memory");
}

TEST(OnTime, other_exceptions_are_thrown_on) {
  const auto search = [](const Problem&, const Budget&, const PlannerOptions&) -> PlanResult {
    throw std::runtime_error("broken");
  };
  EXPECT_THROW((void)on_time(
                   testing::tiny_diamond(), Budget(), {}, search, [] {}, concluded),
               std::runtime_error);
}

TEST(OnTime, what_the_answer_needs_besides_is_done_while_the_search_is_at_work) {
  std::atomic<bool> done = false;
  const PlanResult result = on_time(
      testing::tiny_diamond(), Budget(), {},
      [&](const Problem&, const Budget&, const PlannerOptions&) {
        while (!done) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        PlanResult home;
        home.detail = "came home";
        return home;
      },
      [&] { done = true; }, concluded);
  EXPECT_EQ(result.detail, "came home");
}

TEST(SideBySide, calls_every_job_once) {
  std::vector<std::atomic<int>> calls(20);
  side_by_side(calls.size(), [&](std::size_t i) { ++calls[i]; });
  for (const auto& count : calls) EXPECT_EQ(count, 1);
  side_by_side(0, [](std::size_t) { FAIL(); });
}

TEST(SideBySide, throws_what_a_job_throws_when_all_have_ended) {
  std::atomic<int> ended = 0;
  const auto job = [&](std::size_t i) {
    if (i == 1) throw std::bad_alloc();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ++ended;
  };
  EXPECT_THROW(side_by_side(3, job), std::bad_alloc);
  EXPECT_EQ(ended, 2);
}

}  // namespace
}  // namespace opweave
