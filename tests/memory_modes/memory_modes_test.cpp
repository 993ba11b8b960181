#include "opweave/memory_modes.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <map>

#include "list_scheduling/list_schedule.h"
#include "memory_modes/carry.h"
#include "memory_modes/levers.h"
#include "memory_modes/mode_problems.h"
#include "memory_modes/unfold.h"
#include "opweave/bounds.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/simulate.h"
#include "support/brute_force.h"
#include "support/random_mode_pipelines.h"

namespace opweave {
namespace {

using testing::best_of_all_choices;
using testing::first_of;
using testing::keep_all;
using testing::kMostChoices;
using testing::ModeChain;
using testing::value_named;

std::vector<ModeIndex> first_modes(const Problem& problem) { return std::vector<ModeIndex>(problem.task_count(), 0); }

Duration optimum(const ProblemWithMovements& derived) {
  const auto answer = testing::brute_force(derived.problem());
  EXPECT_TRUE(answer.finished && answer.best);
  return answer.best->makespan(derived.problem());
}

/// F0 F1 on one device and back: 10 + 10 + 20 + 20. Room for one kept value beside what is handed on.
ModeChain two_layers() {
  ModeChain chain;
  chain.layers = {{10, 20, 100, "d0"}, {10, 20, 100, "d0"}};
  return chain;
}

TEST(MemoryModes, a_dropped_value_costs_a_second_run_of_its_unit) {
  const Problem problem = two_layers().problem();
  MemoryChoice choice = keep_all(problem);
  choice[value_named(problem, "a0").index()] = MemoryMode::kDrop;
  const auto derived = ProblemWithMovements::create(problem, choice);
  // One device: everything in a row, with F0 twice.
  EXPECT_EQ(optimum(derived), Duration(70));
  const auto schedule = list_schedule(derived.problem(), first_modes(derived.problem()));
  ASSERT_TRUE(schedule);
  const Plan plan = derived.plan(*schedule, {}, {});
  EXPECT_EQ(first_of(check(problem.graph(), problem.cluster(), plan)), "");
  EXPECT_EQ(plan.statistics.recomputed, Duration(10));
  ASSERT_EQ(plan.movements.size(), 1U);
  EXPECT_EQ(plan.movements[0].kind, MovementKind::kRecompute);
}

TEST(MemoryModes, a_value_on_the_host_costs_its_two_copies) {
  ModeChain chain = two_layers();
  chain.layers.pop_back();
  const Problem problem = chain.problem();
  MemoryChoice choice = keep_all(problem);
  choice[value_named(problem, "a0").index()] = MemoryMode::kHost;
  const auto derived = ProblemWithMovements::create(problem, choice);
  // 10 to make it, 100 bytes out and in at 10 per ns, 20 for its reader.
  EXPECT_EQ(optimum(derived), Duration(10 + 10 + 10 + 20));
  const auto schedule = list_schedule(derived.problem(), first_modes(derived.problem()));
  ASSERT_TRUE(schedule);
  const Plan plan = derived.plan(*schedule, {}, {});
  EXPECT_EQ(first_of(check(problem.graph(), problem.cluster(), plan)), "");
  EXPECT_EQ(plan.statistics.bytes_copied_out, Bytes(100));
  EXPECT_EQ(plan.statistics.devices[0].host_peak, Bytes(100));
}

TEST(MemoryModes, where_nothing_else_fits_values_are_made_again) {
  ModeChain chain = two_layers();
  chain.memory = 150;
  chain.modes = {};
  EXPECT_EQ(plan(chain.problem(), Budget({}, 50)).reason, PlanResult::Reason::kInfeasible);
  chain.modes = {true, false};
  const Problem problem = chain.problem();
  const PlanResult result = plan_with_memory_modes(problem, Budget({}, 500));
  ASSERT_TRUE(result.plan) << result.detail;
  // a0 goes and comes back after B1: F0 F1 B1 F0 B0. To drop a1 instead would not give room when F1 makes it.
  EXPECT_EQ(result.plan->statistics.makespan, Duration(70));
  EXPECT_EQ(result.plan->status, PlanStatus::kOptimal);
  EXPECT_EQ(first_of(check(problem.graph(), problem.cluster(), *result.plan)), "");
}

TEST(MemoryModes, copies_hide_behind_compute_where_recomputation_cannot) {
  ModeChain chain = two_layers();
  chain.memory = 150;
  // The copy of a0 out must end before F1 makes a1: it waits for it, 10 ns. The way back hides behind nothing: a0 has
  // room only when B1 has ended.
  const PlanResult both = plan_with_memory_modes(chain.problem(), Budget({}, 2000));
  ASSERT_TRUE(both.plan);
  EXPECT_EQ(both.plan->statistics.makespan, Duration(70));
  chain.host_bandwidth = 100'000'000'000;  // a copy takes 1
  const PlanResult fast = plan_with_memory_modes(chain.problem(), Budget({}, 2000));
  ASSERT_TRUE(fast.plan);
  EXPECT_EQ(fast.plan->statistics.makespan, Duration(62));
  chain.host_memory = 99;
  const PlanResult small = plan_with_memory_modes(chain.problem(), Budget({}, 2000));
  ASSERT_TRUE(small.plan);
  EXPECT_EQ(small.plan->statistics.makespan, Duration(70));
}

TEST(MemoryModes, optimizers_wait_for_what_reads_their_parameters_again) {
  ModeChain chain = two_layers();
  chain.has_optimizer = true;
  const Problem problem = chain.problem();
  MemoryChoice choice = keep_all(problem);
  choice[value_named(problem, "a0").index()] = MemoryMode::kDrop;
  const auto derived = ProblemWithMovements::create(problem, choice);
  const auto schedule = list_schedule(derived.problem(), first_modes(derived.problem()));
  ASSERT_TRUE(schedule);
  Plan plan = derived.plan(*schedule, {}, {});
  EXPECT_EQ(first_of(check(problem.graph(), problem.cluster(), plan)), "");
  for (PlannedTask& task : plan.tasks) {
    if (problem.graph().at(task.op).name != "O0") continue;
    task.start = Duration(0);
    task.end = Duration(1);
  }
  const auto violations = check(problem.graph(), problem.cluster(), plan);
  EXPECT_TRUE(std::ranges::any_of(violations, [](const Violation& v) { return v.rule == Rule::kRecompute; }));
}

TEST(MemoryModes, plans_with_movements_are_read_as_they_were_written) {
  ModeChain chain = two_layers();
  chain.layers[1].device = "d1";
  chain.microbatches = 3;
  const Problem problem = chain.problem();
  for (const bool uniform : {true, false}) {
    MemoryChoice choice = keep_all(problem);
    for (std::uint32_t m = 0; m < 3; ++m) {
      choice[value_named(problem, "a0", m).index()] = uniform || m == 1 ? MemoryMode::kDrop : MemoryMode::kHost;
      choice[value_named(problem, "a1", m).index()] = uniform || m != 1 ? MemoryMode::kHost : MemoryMode::kKeep;
    }
    const auto derived = ProblemWithMovements::create(problem, choice);
    EXPECT_EQ(derived.problem().settings().training.microbatches, uniform ? 3U : 1U);
    const auto schedule = list_schedule(derived.problem(), first_modes(derived.problem()));
    ASSERT_TRUE(schedule);
    const Plan plan = derived.plan(*schedule, {}, {});
    EXPECT_EQ(first_of(check(problem.graph(), problem.cluster(), plan)), "");
    const std::string text = plan_to_json(plan, problem.graph(), problem.cluster());
    EXPECT_NE(text.find("\"version\": 2"), std::string::npos);
    const Plan again = parse_plan(text, "p", problem.graph(), problem.cluster());
    EXPECT_EQ(plan_to_json(again, problem.graph(), problem.cluster()), text);
    const OrdinaryPlan ordinary = with_movements(problem, again);
    const Schedule back = to_schedule(ordinary.movements.problem(), ordinary.plan);
    EXPECT_EQ(back.makespan(ordinary.movements.problem()), plan.statistics.makespan);
    const auto run = simulate(ordinary.movements.problem(), execution_order(ordinary.movements.problem(), back));
    EXPECT_LE(run.makespan, plan.statistics.makespan);
    EXPECT_THROW((void)to_schedule(problem, again), InputError);
    std::string old = text;
    old.replace(old.find("\"version\": 2"), 12, "\"version\": 1");
    EXPECT_THROW((void)parse_plan(old, "p", problem.graph(), problem.cluster()), InputError);
  }
}

TEST(MemoryModes, an_order_is_carried_over_to_other_modes) {
  ModeChain chain = two_layers();
  chain.layers[1].device = "d1";
  chain.microbatches = 4;
  const Problem problem = chain.problem();
  const auto keep = ProblemWithMovements::create(problem, keep_all(problem));
  const auto schedule = list_schedule(keep.problem(), first_modes(keep.problem()));
  ASSERT_TRUE(schedule);
  MemoryChoice choice = keep_all(problem);
  choice[value_named(problem, "a0", 2).index()] = MemoryMode::kDrop;
  choice[value_named(problem, "a1", 1).index()] = MemoryMode::kHost;
  const auto changed = ProblemWithMovements::create(problem, choice);
  const auto carried = carry(keep, *schedule, changed);
  ASSERT_TRUE(carried);
  EXPECT_EQ(first_of(check(problem.graph(), problem.cluster(), changed.plan(*carried, {}, {}))), "");
  const auto back = carry(changed, *carried, keep);
  ASSERT_TRUE(back);
  EXPECT_EQ(first_of(check(problem.graph(), problem.cluster(), keep.plan(*back, {}, {}))), "");
}

TEST(MemoryModes, where_no_value_can_go_everything_is_kept) {
  ModeChain chain = two_layers();
  chain.layers.assign(25, {1, 1, 10, "d0"});  // too many tasks to plan every choice
  chain.modes = {};
  const Problem keeps = chain.problem();
  ProblemSettings settings = keeps.settings();
  settings.memory_modes = {false, true};
  ClusterParts parts = keeps.cluster().parts();
  parts.types.front().host_link.reset();
  const Problem problem = Problem::create(keeps.graph(), Cluster::create(std::move(parts)), settings);
  const PlanResult result = plan_with_memory_modes(problem, Budget({}, 100));
  ASSERT_TRUE(result.plan);
  EXPECT_EQ(result.plan->statistics.makespan, Duration(50));
  EXPECT_TRUE(result.plan->modes.empty());
}

TEST(MemoryModes, what_is_not_allowed_is_refused_by_name) {
  ModeChain chain = two_layers();
  chain.modes = {true, false};
  const Problem problem = chain.problem();
  MemoryChoice choice = keep_all(problem);
  choice[value_named(problem, "a0").index()] = MemoryMode::kHost;
  EXPECT_THROW((void)ProblemWithMovements::create(problem, choice), InputError);
  PlannerOptions options;
  for (const Objective objective :
       {Objective::kPeriod, Objective::kDevices, Objective::kCommunication, Objective::kUtilisation}) {
    options.objectives = {Objective::kPeakMemory, objective};
    EXPECT_THROW((void)plan_with_memory_modes(problem, Budget({}, 10), options), InputError);
  }
  options.objectives = {Objective::kMakespan, Objective::kPeakMemory, Objective::kMakespan};
  EXPECT_THROW((void)plan_with_memory_modes(problem, Budget({}, 10), options), InputError);
  EXPECT_THROW((void)plan(problem, Budget({}, 10)), InputError);
}

/// Problems of the random agreement; OPWEAVE_AGREEMENT=500 asks for more of them.
std::uint64_t problems_to_compare() {
  const char* wish = std::getenv("OPWEAVE_AGREEMENT");
  return wish == nullptr ? 150 : std::stoul(wish);
}

TEST(MemoryModes, the_best_of_all_choices_is_found_and_proven) {
  std::uint64_t compared = 0;
  for (std::uint64_t seed = 1; seed <= problems_to_compare(); ++seed) {
    testing::Random random(seed);
    const ModeChain chain = testing::random_chain(random);
    if (!chain.modes.any()) continue;
    const Problem problem = chain.problem();
    std::size_t count = 0;
    const std::optional<Duration> best = best_of_all_choices(problem, count);
    if (count > kMostChoices) continue;
    if (best) {
      EXPECT_LE(lower_bounds_with_modes(problem).front().value, *best) << "seed " << seed;
    }
    if (chain.host_memory) continue;  // the bound above is what they are for
    const PlanResult result = plan_with_memory_modes(problem, Budget({}, 300 * count));
    ASSERT_EQ(result.plan.has_value(), best.has_value()) << "seed " << seed;
    if (!best) continue;
    EXPECT_EQ(result.plan->statistics.makespan, *best) << "seed " << seed;
    EXPECT_LE(result.plan->lower_bound(), *best) << "seed " << seed;
    ++compared;
  }
  RecordProperty("compared", static_cast<int>(compared));
  EXPECT_GE(compared, problems_to_compare() / 6);
}

/// Six microbatches whose one layer of 4 + 8 on d0 waits for d1: no backward pass begins before 4 + 15 + 1 + 1 + 15
/// = 36. Room for two of the kept values, and 1 byte. Before 36 only forward passes of values that stay count, the
/// others come again: 36 + 6 x 12 - 2.1 x 4.
TEST(MemoryModes, what_is_dropped_early_must_be_done_again) {
  ModeChain chain;
  chain.layers = {{4, 8, 10, "d0"}, {1, 1, 0, "d1"}};
  chain.microbatches = 6;
  chain.memory = 21;
  chain.link_latency = 15;
  chain.modes = {true, false};
  const auto ramp = [&] {
    const auto bounds = lower_bounds_with_modes(chain.problem());
    const auto found = std::ranges::find(bounds, "memory-ramp (modes)", &LowerBound::name);
    return found == bounds.end() ? Duration() : found->value;
  };
  EXPECT_GE(ramp(), Duration(36 + 72 - 8));
  // Hosts that are fast enough take them all: 36 + 72 - 6 x 4, if nothing else is known.
  chain.modes = {false, true};
  chain.host_bandwidth = 1'000'000'000'000;
  EXPECT_LT(ramp(), Duration(36 + 72 - 8));
}

/// What is dropped at the beginning may run again within the last interval: a bound that takes it for work
/// between the two is above this plan.
TEST(MemoryModes, bounds_are_not_above_plans_in_which_everything_is_dropped) {
  const testing::ModePipeline pipeline = testing::random_mode_pipeline(13);
  ProblemSettings settings = pipeline.problem.settings();
  settings.memory_modes = {true, false};
  const Problem problem = Problem::create(pipeline.problem.graph(), pipeline.problem.cluster(), settings);
  MemoryChoice choice = keep_all(problem);
  for (const UnitLevers& unit : levers_of(problem)) {
    for (const TensorId tensor : unit.levers.back().tensors) {
      for (std::uint32_t m = 0; m < settings.training.microbatches; ++m) {
        choice[problem.value_of(tensor, m).index()] = MemoryMode::kDrop;
      }
    }
  }
  const auto derived = ProblemWithMovements::create(problem, choice, Return::kJustInTime);
  const PlanResult result = plan(derived.problem(), Budget({}, 60));
  ASSERT_TRUE(result.plan) << pipeline.name;
  EXPECT_LE(lower_bounds_with_modes(problem).front().value, result.plan->statistics.makespan) << pipeline.name;
}

TEST(MemoryModes, uniform_plans_are_alike_in_all_microbatches) {
  ModeChain chain;
  for (int l = 0; l < 6; ++l) chain.layers.push_back({3, 6, 10, l % 2 == 0 ? "d0" : "d1"});
  chain.microbatches = 5;
  chain.memory = 70;
  const Problem problem = chain.problem();
  const PlanResult result = plan_with_memory_modes(problem, Budget({}, 4000), {}, {true});
  ASSERT_TRUE(result.plan);
  ASSERT_FALSE(result.plan->modes.empty());
  std::map<TensorId, std::vector<MemoryMode>> modes;
  for (const PlannedMode& mode : result.plan->modes) modes[mode.tensor].push_back(mode.mode);
  for (const auto& [tensor, of_copies] : modes) {
    EXPECT_EQ(of_copies, std::vector<MemoryMode>(5, of_copies.front())) << problem.graph().at(tensor).name;
  }
  const PlanResult again = plan_with_memory_modes(problem, Budget({}, 4000), {}, {true});
  EXPECT_EQ(plan_to_json(*again.plan, problem.graph(), problem.cluster()),
            plan_to_json(*result.plan, problem.graph(), problem.cluster()));
}

TEST(MemoryModes, the_same_work_gives_the_same_plan) {
  ModeChain chain;
  for (int l = 0; l < 6; ++l) chain.layers.push_back({3, 6, 10, l % 2 == 0 ? "d0" : "d1"});
  chain.microbatches = 5;
  chain.memory = 70;
  const Problem problem = chain.problem();
  const auto text = [&](unsigned threads) {
    PlannerOptions options;
    options.threads = threads;
    const PlanResult result = plan_with_memory_modes(problem, Budget({}, 4000), options);
    return plan_to_json(*result.plan, problem.graph(), problem.cluster());
  };
  EXPECT_EQ(text(1), text(2));
}

TEST(MemoryModes, answers_come_on_time_and_after_an_interrupt) {
  ModeChain chain;
  for (int l = 0; l < 16; ++l) chain.layers.push_back({3, 6, 10, l % 2 == 0 ? "d0" : "d1"});
  chain.microbatches = 12;
  chain.memory = 60;
  const Problem problem = chain.problem();
  const Budget limited(0.5, {});
  const PlanResult in_time = plan_with_memory_modes(problem, limited);
  EXPECT_TRUE(in_time.plan);
  EXPECT_EQ(in_time.limit.empty(), in_time.plan->status == PlanStatus::kOptimal);
  EXPECT_LE(limited.elapsed(), 0.5 * 1.05 + 0.5);
  std::atomic<bool> stop = false;
  Budget interrupted(60.0, {});
  interrupted.watch(&stop);
  PlannerOptions options;
  options.on_progress = [&](const Progress&) { stop = true; };  // at the first plan
  const PlanResult stopped = plan_with_memory_modes(problem, interrupted, options);
  EXPECT_TRUE(stopped.plan);
  EXPECT_LE(interrupted.elapsed(), 1.5);
  EXPECT_EQ(stopped.limit, "interrupt");
}

TEST(MemoryModes, what_comes_back_just_in_time_is_a_plan_like_others) {
  ModeChain chain = two_layers();
  chain.microbatches = 3;
  chain.modes = {true, true};
  const Problem problem = chain.problem();
  MemoryChoice choice = keep_all(problem);
  for (std::uint32_t m = 0; m < 3; ++m) {
    choice[value_named(problem, "a0", m).index()] = MemoryMode::kDrop;
    choice[value_named(problem, "a1", m).index()] = MemoryMode::kHost;
  }
  const auto derived = ProblemWithMovements::create(problem, choice, Return::kJustInTime);
  const auto schedule = list_schedule(derived.problem(), first_modes(derived.problem()));
  ASSERT_TRUE(schedule);
  EXPECT_EQ(first_of(check(problem.graph(), problem.cluster(), derived.plan(*schedule, {}, {}))), "");
  // F0 is made again for B0 and not before B1, which comes before it, has begun to be due: behind all of F1.
  const Plan plan = derived.plan(*schedule, {}, {});
  for (const PlannedMovement& movement : plan.movements) {
    if (movement.kind != MovementKind::kRecompute) continue;
    const auto before = std::ranges::find_if(plan.tasks, [&](const PlannedTask& task) {
      return problem.graph().at(task.op).name == "B1" && task.copy == movement.copy;
    });
    EXPECT_GE(movement.start, before->end);
  }
}

TEST(MemoryModes, an_unfolded_iteration_has_the_same_optimum) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    testing::Random random(seed);
    ModeChain chain;
    chain.layers = {{1 + static_cast<std::int64_t>(random.below(5)), 2, 10, "d0"},
                    {1 + static_cast<std::int64_t>(random.below(5)), 3, 10, "d1"}};
    chain.microbatches = 2;
    chain.memory = 12 + static_cast<std::int64_t>(random.below(30));
    chain.modes = {};
    const Problem problem = chain.problem();
    ComputationGraph once = unfold(problem);
    const Problem unfolded = Problem::create(std::move(once), problem.cluster());
    const auto a = testing::brute_force(problem);
    const auto b = testing::brute_force(unfolded);
    ASSERT_TRUE(a.finished && b.finished);
    ASSERT_EQ(a.best.has_value(), b.best.has_value());
    if (!a.best) continue;
    EXPECT_EQ(a.best->makespan(problem), b.best->makespan(unfolded)) << "seed " << seed;
  }
}

}  // namespace
}  // namespace opweave
