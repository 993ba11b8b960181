// Methods around one incumbent: the solver on the whole and on windows.
#include "planner/run_methods.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <stdexcept>
#include <thread>

#include "exact/engine.h"
#include "opweave/bounds.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/pipeline.h"
#include "opweave/planner.h"
#include "planner/cp_sat_method.h"
#include "planner/cp_sat_targets_method.h"
#include "planner/incumbent.h"
#include "planner/order_methods.h"
#include "planner/routing_method.h"
#include "planner/searched.h"
#include "planner/window_choice.h"
#include "support/brute_force.h"
#include "support/equal_layers.h"
#include "support/job_shop.h"
#include "support/pipelines.h"
#include "support/random_problems.h"
#include "support/serial_plan.h"

namespace opweave {
namespace {

using testing::by_clock;
using testing::first_schedule;
using testing::is_accepted;
using testing::Searched;
using testing::two_chains;

TEST(IncumbentStore, drops_a_claimed_bound_above_a_valid_plan) {
  const Problem problem = testing::random_job_shop(1, 3, 3, 2);
  const Budget budget;
  const Schedule schedule = first_schedule(problem);
  const Duration makespan = schedule.makespan(problem);
  IncumbentStore store(problem, budget, {});
  store.state_bounds({{"load", Duration(1), ""}});
  EXPECT_TRUE(store.raise_bound({"solver", makespan + Duration(1), ""}));
  EXPECT_FALSE(store.raise_bound({"solver", Duration(1), ""}));
  EXPECT_TRUE(store.offer(schedule, "test"));
  EXPECT_EQ(store.lower_bound(), Duration(1));
  EXPECT_FALSE(store.is_optimal());
  EXPECT_FALSE(store.raise_bound({"solver", makespan + Duration(1), ""}));
  EXPECT_TRUE(store.raise_bound({"solver", makespan, ""}));
  EXPECT_TRUE(store.is_optimal());
  EXPECT_EQ(store.bounds().front().name, "solver");
  EXPECT_EQ(store.bounds().size(), 2U);
}

TEST(WindowChoice, draws_windows_of_existing_tasks_without_repeats) {
  int drawn = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    std::optional<Problem> problem;
    try {
      testing::RandomShape shape;
      shape.most_tasks = 30;
      problem = testing::random_problem(seed, shape).problem();
    } catch (const InputError&) {
      continue;
    }
    const PlanResult first = plan(*problem, Budget(std::nullopt, 0));
    if (!first.plan) continue;
    const Schedule schedule = to_schedule(*problem, *first.plan);
    WindowChoice choice(*problem, seed);
    for (int i = 0; i < 20; ++i) {
      const WindowChoice::Window window = choice.draw(schedule);
      ASSERT_FALSE(window.tasks.empty());
      EXPECT_TRUE(std::ranges::is_sorted(window.tasks));
      EXPECT_EQ(std::ranges::adjacent_find(window.tasks), window.tasks.end());
      EXPECT_LT(window.tasks.back().index(), problem->task_count());
      choice.finished(window.kind, i % 3 != 0);
      ++drawn;
    }
  }
  EXPECT_GT(drawn, 100);
}

class CpSatMethodTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string reason = exact::cp_sat_engine()->unavailable_because();
    if (!reason.empty()) GTEST_SKIP() << reason;
  }
};

using CpSatTargetsMethodTest = CpSatMethodTest;

TEST_F(CpSatMethodTest, proves_a_small_problem_optimal) {
  const Problem problem = testing::random_job_shop(2, 4, 4, 3);
  const Budget budget(20.0, std::nullopt);
  Searched searched(problem, first_schedule(problem), budget);
  const IncumbentStore& store = searched.store;
  EXPECT_LT(searched.traits.intervals(), 100U);  // 16 tasks, at most 3 machines
  CpSatMethod(searched.context, 1).advance(searched.store, by_clock(budget));
  EXPECT_TRUE(store.is_optimal());
  EXPECT_LT(budget.elapsed(), 15);
  ASSERT_FALSE(store.bounds().empty());
  EXPECT_EQ(store.bounds().front().name, "cp-sat");
  EXPECT_EQ(store.bounds().front().value, *store.makespan());
}

TEST_F(CpSatMethodTest, windows_improve_a_serial_schedule) {
  // Everything one after the other; a window may overlap what is in it.
  const Problem problem = testing::random_job_shop(3, 8, 5, 4);
  const Budget budget(3.0, std::nullopt);
  testing::Random random(1);
  const Schedule serial = *testing::serial_schedule(problem, random);
  ASSERT_TRUE(is_accepted(problem, serial));
  Searched searched(problem, serial, budget);
  const IncumbentStore& store = searched.store;
  CpSatMethod method(searched.context, 1);
  method.advance(searched.store, by_clock(budget.share(0.01)));  // the whole; windows take turns with it
  method.advance(searched.store, by_clock(budget));
  EXPECT_LT(store.makespan()->value() * 2, serial.makespan(problem).value());
  EXPECT_EQ(store.method(), "cp-sat windows");
  EXPECT_EQ(store.last_rejection(), "");
}

TEST_F(CpSatMethodTest, windows_never_offer_an_invalid_schedule) {
  std::size_t tried = 0;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    std::optional<Problem> problem;
    try {
      testing::RandomShape shape;
      shape.most_tasks = 20;
      shape.pinned_percent = 20;
      problem = testing::random_problem(seed, shape).problem();
    } catch (const InputError&) {
      continue;
    }
    const PlanResult first = plan(*problem, Budget(std::nullopt, 0));
    if (!first.plan) continue;
    const Budget budget(0.2, std::nullopt);
    Searched searched(*problem, to_schedule(*problem, *first.plan), budget, seed);
    CpSatMethod method(searched.context, seed);
    method.advance(searched.store, by_clock(budget.share(0.01)));
    method.advance(searched.store, by_clock(budget));
    EXPECT_EQ(searched.store.last_rejection(), "") << seed;
    ++tried;
  }
  EXPECT_GT(tried, 3U);
}

/// Chains of 3 + 2 and 2 + 3 that meet in an operator of 1; two devices, and 4 to send anything.
// Both ends of the chains are needed in one place: what is sent arrives at 5 + 4, and 1 follows: 10. Without sending
// all 11 run on one device.
TEST_F(CpSatTargetsMethodTest, refutes_every_shorter_schedule_of_two_chains_that_meet) {
  const Problem problem = two_chains();
  const Budget budget(20.0, std::nullopt);
  for (const bool is_repeatable : {false, true}) {
    Searched searched(problem, first_schedule(problem), budget);
    ASSERT_TRUE(CpSatTargetsMethod::supports(searched.traits));
    EXPECT_TRUE(CpSatTargetsMethod::is_exact(searched.traits));
    CpSatTargetsMethod targets(searched.context, 1);
    for (int i = 0; i < 4; ++i) {
      targets.advance(searched.store, {budget, is_repeatable ? std::optional<std::uint64_t>(100'000) : std::nullopt});
    }
    EXPECT_TRUE(targets.is_done());
    EXPECT_EQ(*searched.store.makespan(), Duration(10));
    EXPECT_EQ(searched.store.lower_bound(), Duration(10));
  }
}

TEST_F(CpSatTargetsMethodTest, bounds_are_never_above_the_optimum_and_reach_it_where_nothing_is_left_out) {
  int exact = 0;
  int tried = 0;
  for (std::uint64_t seed = 1; seed <= 240; ++seed) {
    std::optional<Problem> problem;
    try {
      problem = testing::random_problem(seed).problem();
    } catch (const InputError&) {
      continue;
    }
    if (!CpSatTargetsMethod::supports(ProblemTraits(*problem))) continue;
    const auto truth = testing::brute_force(*problem, 1'000'000);
    const PlanResult first = plan(*problem, Budget(std::nullopt, 0));
    if (!truth.finished || !truth.best || !first.plan) continue;
    SCOPED_TRACE(seed);
    const Budget budget(5.0, std::nullopt);
    Searched searched(*problem, to_schedule(*problem, *first.plan), budget, seed);
    const IncumbentStore& store = searched.store;
    CpSatTargetsMethod(searched.context, seed).advance(searched.store, by_clock(budget.until(&store.is_final())));
    EXPECT_EQ(store.last_rejection(), "");
    const Duration optimum = truth.best->makespan(*problem);
    EXPECT_LE(store.lower_bound(), optimum);
    EXPECT_GE(*store.makespan(), optimum);
    if (CpSatTargetsMethod::is_exact(searched.traits)) {
      EXPECT_EQ(store.lower_bound(), optimum);
      EXPECT_EQ(*store.makespan(), optimum);
      ++exact;
    }
    ++tried;
  }
  EXPECT_GT(exact, 2);
  EXPECT_GT(tried, 15);
}

// Through the planner.

TEST(RunMethods, plans_small_job_shops_to_proven_optimality) {
  if (!exact::cp_sat_engine()->unavailable_because().empty()) GTEST_SKIP() << "no CP-SAT";
  for (const unsigned threads : {1U, 2U}) {
    const Problem problem = testing::random_job_shop(9, 5, 5, 3);
    PlannerOptions options;
    options.threads = threads;
    const PlanResult result = plan(problem, Budget(20.0, std::nullopt), options);
    ASSERT_TRUE(result.plan);
    EXPECT_EQ(result.plan->status, PlanStatus::kOptimal);
    EXPECT_EQ(result.limit, "");
    EXPECT_TRUE(check(problem.graph(), problem.cluster(), *result.plan).empty());
  }
}

TEST(RunMethods, keeps_its_time_limit) {
  const Problem problem = testing::random_job_shop(10, 15, 10, 6);
  for (const double limit : {0.1, 1.0}) {
    for (const unsigned threads : {1U, 2U}) {
      PlannerOptions options;
      options.threads = threads;
      const Budget budget(limit, std::nullopt);
      const PlanResult result = plan(problem, budget, options);
      EXPECT_LE(budget.elapsed(), limit * 1.05 + 0.5);
      ASSERT_TRUE(result.plan.has_value());
    }
  }
}

/// Four layers of twelve microbatches in a chain, each on either of two devices.
Problem open_layers() {
  PipelineSpec spec;
  spec.shape = PipelineShape::kFree;
  spec.training.microbatches = 12;
  for (const std::int64_t forward : {5, 4, 3, 2}) {
    Layer layer;
    layer.name = "layer" + std::to_string(forward);
    layer.operators = {{"op", "", {"compute"}, Duration(forward), std::nullopt, std::nullopt}};
    spec.layers.push_back(layer);
  }
  return Problem::create(build_pipeline(spec), uniform_cluster(2, {"compute"}, std::nullopt, Duration(0)));
}

/// Of every kind that some method is for.
std::vector<Problem> varied_problems() {
  std::vector<Problem> problems = {
      testing::random_job_shop(11, 8, 6, 4), two_chains(),
      testing::equal_layers({700, 4, false, 4}),  // more tasks than the routing search takes
      open_layers(), testing::stage_pipeline({PipelineShape::kLinear, 3, 4, 1, 1.2, .8, .1, {}})};
  for (std::uint64_t seed = 1;; ++seed) {
    testing::RandomShape shape;
    shape.most_tasks = 20;
    shape.pinned_percent = 10;
    try {
      const Problem problem = testing::random_problem(seed, shape).problem();
      testing::Random random(seed);
      if (!OrderTurns::supports(ProblemTraits(problem)) || !testing::serial_schedule(problem, random)) continue;
      problems.push_back(problem);
      return problems;
    } catch (const InputError&) {
      continue;
    }
  }
}

// Every method that works by the clock, alone and under a work limit: it gains something on some problem, and the same
// to the byte whatever the threads.
TEST_F(CpSatMethodTest, as_every_method_gains_under_a_work_limit_and_the_same_with_1_2_and_4_threads) {
  std::map<std::string_view, bool> has_gained;
  for (const Problem& problem : varied_problems()) {
    testing::Random random(1);
    const Schedule serial = *testing::serial_schedule(problem, random);
    const Schedule start = is_accepted(problem, serial) ? serial : first_schedule(problem);
    const std::uint64_t work = problem.task_count() > 1000 ? 1600 : 100'000;
    for (const MethodRow& row : search_methods()) {
      if (row.phase == MethodPhase::kFirstPlans || !row.supports(ProblemTraits(problem))) continue;
      SCOPED_TRACE(row.name);
      std::string first;
      for (const unsigned threads : {1U, 2U, 4U}) {
        const Budget budget;
        Searched searched(problem, start, budget);
        searched.options.threads = threads;
        run_methods({&row, 1}, searched.context, nullptr, budget, work, searched.store);
        const IncumbentStore& store = searched.store;
        const Plan plan = make_plan(problem, store.schedule(), store.bounds(), {});
        const std::string bytes = plan_to_json(plan, problem.graph(), problem.cluster());
        if (threads == 1) first = bytes;
        EXPECT_EQ(bytes, first);
        EXPECT_EQ(store.last_rejection(), "");
        // Placements are proposed to the order search.
        const bool has_start = searched.context.starts.size() > 1;
        has_gained[row.name] |= *store.makespan() < start.makespan(problem) || !store.bounds().empty() || has_start;
      }
    }
  }
  for (const MethodRow& row : search_methods()) {
    EXPECT_TRUE(has_gained[row.name] || row.phase == MethodPhase::kFirstPlans) << row.name;
  }
}

TEST(RunMethods, same_work_limit_gives_the_same_bytes_with_any_number_of_threads) {
  std::vector<Problem> problems = {testing::random_job_shop(11, 8, 6, 4)};
  for (std::uint64_t seed = 1; problems.size() < 4; ++seed) {  // memory, contention, gangs
    testing::RandomShape shape;
    shape.most_tasks = 20;
    shape.pinned_percent = 10;
    try {
      const Problem problem = testing::random_problem(seed, shape).problem();
      if (OrderTurns::supports(ProblemTraits(problem)) && plan(problem, Budget(std::nullopt, 0)).plan) {
        problems.push_back(problem);
      }
    } catch (const InputError&) {
      continue;
    }
  }
  for (const Problem& problem : problems) {
    const auto bytes = [&](unsigned threads) {
      PlannerOptions options;
      options.threads = threads;
      const PlanResult result = plan(problem, Budget(std::nullopt, 3000), options);
      return plan_to_json(*result.plan, problem.graph(), problem.cluster());
    };
    const std::string one = bytes(1);
    EXPECT_EQ(bytes(1), one);
    EXPECT_EQ(bytes(2), one);
    EXPECT_EQ(bytes(3), one);
  }
}

TEST(RunMethods, more_work_never_gives_a_worse_plan) {
  const Problem problem = testing::random_job_shop(12, 12, 8, 5);
  Duration before = first_schedule(problem).makespan(problem);
  const Duration first = before;
  for (std::uint64_t work = 100; work <= 12800; work *= 2) {
    const Duration makespan = plan(problem, Budget(std::nullopt, work)).plan->statistics.makespan;
    EXPECT_LE(makespan, before) << work;
    before = makespan;
  }
  EXPECT_LT(before, first);
}

TEST(RunMethods, plan_is_never_worse_than_its_warm_start) {
  const Problem problem = testing::random_job_shop(13, 12, 8, 5);
  const PlanResult good = plan(problem, Budget(std::nullopt, 20'000));
  PlannerOptions options;
  options.warm_start = to_schedule(problem, *good.plan);
  for (const std::uint64_t work : {0, 1, 200}) {
    const PlanResult result = plan(problem, Budget(std::nullopt, work), options);
    EXPECT_LE(result.plan->statistics.makespan, good.plan->statistics.makespan) << work;
  }
  EXPECT_LT(good.plan->statistics.makespan, plan(problem, Budget(std::nullopt, 0)).plan->statistics.makespan);
}

}  // namespace
}  // namespace opweave
