// Objectives beside the makespan: values by hand on the diamond, and against brute force on random tiny problems.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "exact/communication_mip.h"
#include "exact/random_schedule.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/planner.h"
#include "planner/objective_bounds.h"
#include "planner/objective_search.h"
#include "planner/restrict.h"
#include "support/brute_force.h"
#include "support/tight_problems.h"
#include "support/tiny_diamond.h"

namespace opweave {
namespace {

using ::testing::HasSubstr;

Plan planned(const Problem& problem, const std::string& objectives, std::optional<Duration> deadline = {},
             Method method = Method::kAuto) {
  PlannerOptions options;
  options.method = method;
  options.objectives = parse_objectives(objectives);
  options.deadline = deadline;
  const PlanResult result = plan(problem, Budget(std::nullopt, 2000), options);
  if (!result.plan) throw std::runtime_error(result.detail);
  const auto violations = check(problem.graph(), problem.cluster(), *result.plan);
  EXPECT_TRUE(violations.empty()) << violations.front().message;
  return *result.plan;
}

void expect_figure(const Plan& plan, std::size_t i, Objective objective, std::int64_t value) {
  ASSERT_LT(i, plan.objectives.size());
  EXPECT_EQ(plan.objectives[i].objective, objective);
  EXPECT_EQ(plan.objectives[i].value, value) << to_string(objective);
  EXPECT_EQ(plan.objectives[i].bound, value) << to_string(objective) << ": " << plan.objectives[i].proof;
}

// The bottom operator has two inputs and an output of 100 bytes each on its device. With 300 bytes per device the
// shortest plan is still possible: left on d1; on d0 top, right (from 10 to 40, with t and r), l arrives before 40.
TEST(Objectives, peak_memory_then_makespan_of_the_diamond_are_proven_best) {
  const Plan plan = planned(testing::tiny_diamond(), "peak-memory,makespan");
  expect_figure(plan, 0, Objective::kPeakMemory, 300);
  expect_figure(plan, 1, Objective::kMakespan, 45);
  EXPECT_EQ(plan.status, PlanStatus::kOptimal);
}

// All four one after the other take 10 + 20 + 30 + 5 = 65; 65 in 45 needs two devices.
TEST(Objectives, fewest_devices_for_a_deadline_are_proven_best) {
  expect_figure(planned(testing::tiny_diamond(), "devices", Duration(65)), 0, Objective::kDevices, 1);
  expect_figure(planned(testing::tiny_diamond(), "devices", Duration(64)), 0, Objective::kDevices, 2);
  const Plan plan = planned(testing::tiny_diamond(), "devices,makespan");
  expect_figure(plan, 0, Objective::kDevices, 1);
  expect_figure(plan, 1, Objective::kMakespan, 65);
}

// Without a second device nothing moves. With left and right on different devices, t goes to one of them and the
// other's result to bottom: 200 bytes. {top, left, right} or {left, right, bottom} together take longer than 45.
TEST(Objectives, least_communication_for_a_deadline_is_proven_best) {
  if (!exact::highs_engine()->unavailable_because().empty())
    GTEST_SKIP() << exact::highs_engine()->unavailable_because();
  expect_figure(planned(testing::tiny_diamond(), "communication", Duration(65)), 0, Objective::kCommunication, 0);
  expect_figure(planned(testing::tiny_diamond(), "communication,makespan", Duration(45)), 0, Objective::kCommunication,
                200);
}

// 65 ns of work on two devices for 45 ns: 25 / 90 is idle.
TEST(Objectives, utilisation_is_stated_as_idle_parts_per_billion) {
  expect_figure(planned(testing::tiny_diamond(), "utilisation"), 0, Objective::kUtilisation, 277'777'777);
}

// 65 ns of work in parts of 10, 20, 30 and 5 over two devices: 33 and 32 cannot be made of them, 35 and 30 can.
TEST(Objectives, least_period_of_the_diamond_is_proven_best) {
  expect_figure(planned(testing::tiny_diamond(), "period"), 0, Objective::kPeriod, 35);
}

TEST(Objectives, a_deadline_below_a_bound_has_no_plan_and_says_why) {
  PlannerOptions options;
  options.deadline = Duration(44);  // the critical path is 45
  const PlanResult result = plan(testing::tiny_diamond(), Budget(std::nullopt, 100), options);
  EXPECT_EQ(result.reason, PlanResult::Reason::kInfeasible);
  EXPECT_THAT(result.detail, HasSubstr("critical-path"));
}

TEST(Objectives, those_before_get_three_quarters_of_the_time_left_and_the_last_all_of_it) {
  const Budget budget(1000, std::nullopt);
  constexpr double kSecondsOfTheTest = 10;
  EXPECT_NEAR(*share_of_objective(budget, 0, 3).remaining(), 750, kSecondsOfTheTest);
  EXPECT_NEAR(*share_of_objective(budget, 1, 3).remaining(), 750, kSecondsOfTheTest);
  EXPECT_NEAR(*share_of_objective(budget, 2, 3).remaining(), 1000, kSecondsOfTheTest);
  EXPECT_NEAR(*share_of_objective(budget, 0, 1).remaining(), 1000, kSecondsOfTheTest);
}

TEST(Objectives, none_or_one_twice_is_an_input_error) {
  PlannerOptions options;
  options.objectives = {};
  EXPECT_THROW((void)plan(testing::tiny_diamond(), Budget(), options), InputError);
  options.objectives = {Objective::kPeriod, Objective::kPeriod};
  EXPECT_THROW((void)plan(testing::tiny_diamond(), Budget(), options), InputError);
  EXPECT_THROW((void)parse_objectives("makespan,"), InputError);
  EXPECT_THROW((void)parse_objectives("speed"), InputError);
}

TEST(WarmStart, of_another_problem_is_an_input_error) {
  PlannerOptions options;
  options.warm_start.emplace();
  EXPECT_THROW((void)plan(testing::tiny_diamond(), Budget(std::nullopt, 0), options), InputError);
  options.warm_start->tasks.resize(4);  // everything at 0
  EXPECT_THROW((void)plan(testing::tiny_diamond(), Budget(std::nullopt, 0), options), InputError);
}

// Each method alone, without any time or work: what is left is the warm start.
TEST(WarmStart, is_never_given_up_for_a_worse_plan) {
  const Problem problem = testing::tiny_diamond();
  const Plan best = planned(problem, "makespan");
  for (const Method method :
       {Method::kAuto, Method::kHeuristic, Method::kMipDisjunctive, Method::kMipTimeIndexed, Method::kCp}) {
    PlannerOptions options;
    options.method = method;
    options.warm_start = to_schedule(problem, best);
    const PlanResult result = plan(problem, Budget(0.0, std::nullopt), options);
    ASSERT_TRUE(result.plan.has_value()) << to_string(method) << ": " << result.detail;
    EXPECT_EQ(result.plan->statistics.makespan, Duration(45)) << to_string(method);
  }
}

TEST(Restriction, keeps_tasks_and_devices_and_translates_modes) {
  const Problem problem = testing::tiny_diamond();
  Restriction only_second;
  only_second.devices = {DeviceId(1)};
  const auto restricted = RestrictedProblem::create(problem, only_second);
  ASSERT_TRUE(restricted);
  const Plan serial = planned(restricted->problem(), "makespan");
  EXPECT_EQ(serial.statistics.makespan, Duration(65));
  const Schedule wide = restricted->widen(to_schedule(restricted->problem(), serial));
  for (std::size_t t = 0; t < 4; ++t) {
    EXPECT_EQ(problem.mode(TaskId(t), wide.tasks[t].mode).devices.front(), DeviceId(1));
  }
  EXPECT_TRUE(restricted->narrow(wide));
  Schedule elsewhere = wide;
  elsewhere.tasks[0].mode = *problem.mode_on(TaskId(0), DeviceId(0));
  EXPECT_FALSE(restricted->narrow(elsewhere));
}

/// Calls visit(problem, shortest makespan) for small random problems that brute force finishes and that have a plan.
template <class Visit>
void for_each_small_problem(std::uint64_t count, Visit visit) {
  testing::RandomShape shape;
  shape.most_tasks = 6;
  shape.pinned_percent = 30;
  for (std::uint64_t seed = 1, visited = 0; visited < count && seed < 20 * count; ++seed) {
    const auto problem = exact::testing::problem_of_seed(seed, shape);
    if (!problem) continue;
    const auto truth = testing::brute_force(*problem, 300'000);
    if (!truth.finished || !truth.best) continue;
    SCOPED_TRACE(seed);
    visit(*problem, truth.best->makespan(*problem));
    if (::testing::Test::HasFatalFailure()) return;
    ++visited;
  }
}

/// Brute force: does the restricted problem have a plan that ends by the deadline?
std::optional<bool> is_possible(const Problem& problem, const Restriction& restriction, Duration deadline) {
  const auto restricted = RestrictedProblem::create(problem, restriction);
  if (!restricted) return false;
  const auto truth = testing::brute_force(restricted->problem(), 300'000);
  if (!truth.finished) return std::nullopt;
  return truth.best && truth.best->makespan(restricted->problem()) <= deadline;
}

TEST(Objectives, least_peak_memory_equals_brute_force_when_a_program_is_solved_to_the_end) {
  if (!exact::cp_sat_engine()->unavailable_because().empty())
    GTEST_SKIP() << exact::cp_sat_engine()->unavailable_because();
  std::size_t compared = 0;
  for_each_small_problem(12, [&](const Problem& problem, Duration shortest) {
    const Duration deadline(shortest.value() + shortest.value() / 4);
    const Plan best = planned(problem, "peak-memory", deadline, Method::kCp);
    const std::int64_t peak = best.objectives.front().value;
    EXPECT_EQ(best.objectives.front().bound, peak);
    if (peak == 0) return;
    Restriction less;
    less.memory = Bytes(peak - 1);
    const auto possible = is_possible(problem, less, deadline);
    if (!possible) return;
    EXPECT_FALSE(*possible);
    ++compared;
  });
  EXPECT_GT(compared, 4U);
}

// 400 operators in a chain, each with a duration of its own on each of 8 devices, so that the shortest plan sends
// nearly everything (issue 20). On one device nothing is sent.
TEST(Objectives, a_chain_moves_nothing_where_memory_does_not_limit_it) {
  testing::Dice dice(1);
  std::vector<Operator> operators(400);
  std::vector<Tensor> tensors;
  ClusterParts cluster;
  for (int d = 0; d < 8; ++d) {
    const std::string number = std::to_string(d);
    cluster.types.push_back({"t" + number, {}, {}});
    cluster.devices.push_back({"d" + number, "t" + number, {}, {"compute"}});
  }
  for (std::size_t i = 0; i < operators.size(); ++i) {
    operators[i].name = "o" + std::to_string(i);
    for (const DeviceType& type : cluster.types) {
      operators[i].durations.push_back({type.name, Duration(dice.roll(1, 9))});
    }
    if (i > 0) operators[i].inputs = {TensorId(i - 1)};
    operators[i].outputs = {TensorId(i)};
    tensors.push_back({"t" + std::to_string(i), Bytes(dice.roll(1, 1000)), {}, {}});
  }
  cluster.default_link = Link{"", "", "", Duration(1), {}, true};
  const Problem problem =
      Problem::create(ComputationGraph::create("chain", operators, tensors, {}, {}), Cluster::create(cluster));
  const Plan plan = planned(problem, "communication");
  expect_figure(plan, 0, Objective::kCommunication, 0);
  EXPECT_EQ(plan.status, PlanStatus::kOptimal);
}

// Bytes, devices and peaks do not depend on times, so of small problems the solver finds the least. The least peak:
// with one byte less per device there is no schedule.
TEST(Objectives, untimed_ones_of_tight_problems_equal_brute_force) {
  if (const std::string reason = exact::cp_sat_engine()->unavailable_because(); !reason.empty()) GTEST_SKIP() << reason;
  int compared = 0;
  for (std::uint64_t seed = 1; seed <= testing::seeds(150); ++seed) {
    SCOPED_TRACE(seed);
    std::optional<Problem> problem;
    try {
      problem = testing::tight_problem(seed, 4).problem();
    } catch (const InputError&) {
      continue;
    }
    std::map<Objective, std::int64_t> least;
    const bool finished = testing::for_each_choice(
        *problem,
        [&](const Schedule& schedule) {
          const PlanStatistics figures = statistics(*problem, schedule);
          for (const Objective objective : {Objective::kCommunication, Objective::kDevices}) {
            const std::int64_t value = objective_value(objective, *problem, schedule, figures);
            least[objective] = least.contains(objective) ? std::min(least[objective], value) : value;
          }
        },
        500'000);
    if (!finished || least.empty()) continue;
    ++compared;
    expect_figure(planned(*problem, "communication"), 0, Objective::kCommunication, least[Objective::kCommunication]);
    expect_figure(planned(*problem, "devices"), 0, Objective::kDevices, least[Objective::kDevices]);
    const Plan plan = planned(*problem, "peak-memory");
    const std::int64_t peak = plan.objectives.front().value;
    EXPECT_EQ(plan.objectives.front().bound, peak);
    if (peak == 0) continue;
    const auto less = RestrictedProblem::create(*problem, {Bytes(peak - 1), {}});
    EXPECT_TRUE(!less || !testing::brute_force(less->problem()).best);
  }
  EXPECT_GT(compared, 40);
}

TEST(Objectives, bounds_are_never_above_any_valid_plan) {
  if (!exact::cp_sat_engine()->unavailable_because().empty())
    GTEST_SKIP() << exact::cp_sat_engine()->unavailable_because();
  std::size_t compared = 0;
  testing::RandomShape shape;
  shape.most_tasks = 10;
  shape.pinned_percent = 30;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    const auto problem = exact::testing::problem_of_seed(seed, shape);
    if (!problem) continue;
    const auto schedule = exact::testing::random_schedule(*problem, seed);
    if (!schedule) continue;
    SCOPED_TRACE(seed);
    const PlanStatistics figures = statistics(*problem, *schedule);
    const auto value = [&](Objective objective) { return objective_value(objective, *problem, *schedule, figures); };
    const Duration deadline = figures.makespan;
    EXPECT_LE(period_bound(*problem).value, value(Objective::kPeriod));
    const Bytes peak(value(Objective::kPeakMemory));
    EXPECT_LE(peak_memory_bound(*problem, deadline, peak, Budget()).value, peak.value());
    const std::int64_t devices = value(Objective::kDevices);
    const auto most_devices = static_cast<std::int64_t>(problem->cluster().device_count());
    EXPECT_LE(devices_bound(*problem, deadline, most_devices, Budget()).value, devices);
    EXPECT_LE(utilisation_bound(*problem, deadline).value, value(Objective::kUtilisation));
    const auto least = exact::least_communication(*problem, deadline, Budget(5.0, std::nullopt), 1, 1);
    EXPECT_LE(least.bound.value_or(Bytes()).value(), value(Objective::kCommunication));
    EXPECT_FALSE(least.is_infeasible);
    ++compared;
  }
  EXPECT_GT(compared, 25U);
}

}  // namespace
}  // namespace opweave
