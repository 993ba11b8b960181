#include "opweave/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "opweave/check.h"
#include "opweave/simulate.h"
#include "support/serial_plan.h"
#include "support/tiny_diamond.h"

namespace opweave {
namespace {

using ::testing::ElementsAre;
using testing::Random;

constexpr std::size_t at(IdleCause cause) { return static_cast<std::size_t>(cause); }

/// Rules that a schedule breaks.
std::vector<Rule> broken(const Problem& problem, const Schedule& schedule) {
  std::vector<Rule> rules;
  for (const Violation& violation : check(problem.graph(), problem.cluster(), make_plan(problem, schedule, {}, {}))) {
    rules.push_back(violation.rule);
  }
  return rules;
}
bool contains(const std::vector<Rule>& rules, std::initializer_list<Rule> any_of) {
  return std::ranges::any_of(any_of, [&](Rule rule) { return std::ranges::find(rules, rule) != rules.end(); });
}

Schedule with_start(Schedule schedule, TaskId task, Duration start) {
  schedule.tasks[task.index()].start = start;
  return schedule;
}
Schedule with_transfer_start(Schedule schedule, std::size_t transfer, Duration start) {
  Transfer& moved = schedule.transfers[transfer];
  moved.end -= moved.start - start;
  moved.start = start;
  return schedule;
}
Duration before(Duration time) { return time - Duration(1); }

/// Problems with valid plans: serial ones with pauses, and the same orders run as early as possible.
template <class Use>
int for_random_plans(int wanted, Use use) {
  int plans = 0;
  for (std::uint64_t seed = 1; plans < wanted && seed < 2000; ++seed) {
    Random random(seed);
    auto planned = testing::random_planned_problem(random, 12);
    if (!planned) continue;
    Schedule schedule = to_schedule(planned->problem, planned->plan);
    if (seed % 3 != 0) {
      // As early as the order allows; with memory that this schedule just meets.
      const Problem& problem = planned->problem;
      schedule = simulate(problem, execution_order(problem, schedule), {problem.settings().contention, 1, {}}).schedule;
      planned = testing::with_tight_memory(problem, schedule, random);
    }
    SCOPED_TRACE("seed " + std::to_string(seed));
    use(planned->problem, schedule);
    ++plans;
    if (::testing::Test::HasFatalFailure()) break;
  }
  return plans;
}

/// top on d0 (0-10), right on d0 (10-40), left on d1: transfer 10-13, left 13-33, back 33-36, bottom on d0 40-45.
struct Diamond {
  Problem problem = Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster());
  Schedule schedule;
  Diamond() {
    const ModeIndex on0 = *problem.mode_on(TaskId(0), DeviceId(0)), on1 = *problem.mode_on(TaskId(1), DeviceId(1));
    schedule.tasks = {{on0, Duration(0)}, {on1, Duration(13)}, {on0, Duration(10)}, {on0, Duration(40)}};
    schedule.transfers = {{ValueId(0), DeviceId(0), DeviceId(1), Duration(10), Duration(13)},
                          {ValueId(1), DeviceId(1), DeviceId(0), Duration(33), Duration(36)}};
  }
};

TEST(Explanation, idle_time_of_the_diamond_is_ramp_up_and_ramp_down_of_the_second_device) {
  const Diamond diamond;
  ASSERT_THAT(broken(diamond.problem, diamond.schedule), ElementsAre());
  const auto causes = Explanation(diamond.problem, diamond.schedule).idle_by_cause();
  EXPECT_EQ(std::accumulate(causes[0].begin(), causes[0].end(), Duration()), Duration(0));
  EXPECT_EQ(causes[1][at(IdleCause::kRampUp)], Duration(13));
  EXPECT_EQ(causes[1][at(IdleCause::kRampDown)], Duration(12));  // 45 - 33
}

TEST(Explanation, critical_path_of_the_diamond_goes_through_its_longer_side) {
  const Diamond diamond;
  const auto path = Explanation(diamond.problem, diamond.schedule).critical_path();
  ASSERT_EQ(path.size(), 3U);  // top 10 + right 30 + bottom 5 = 45
  EXPECT_EQ(path[0].task, TaskId(0));
  EXPECT_EQ(path[1].task, TaskId(2));
  EXPECT_EQ(path[2].task, TaskId(3));
  EXPECT_EQ(path[0].binding, Binding::kStart);
  EXPECT_EQ(path[1].binding, Binding::kInput);
}

TEST(Explanation, slack_of_the_diamond_is_what_the_shorter_side_may_lose) {
  const Diamond diamond;
  // left may end at 37 (transfer of 3 until bottom starts at 40) instead of 33.
  EXPECT_THAT(Explanation(diamond.problem, diamond.schedule).slack(),
              ElementsAre(Duration(0), Duration(4), Duration(0), Duration(0)));
}

TEST(Explanation, a_gap_is_cut_into_waiting_for_input_then_transfer_then_held) {
  // right on d1 and left on d0: d0 has top 0-10, left 10-30, then bottom; right runs 13-43 on d1, arrives at 46.
  Diamond diamond;
  const ModeIndex on0 = 0, on1 = 1;
  diamond.schedule.tasks = {{on0, Duration(0)}, {on0, Duration(10)}, {on1, Duration(13)}, {on0, Duration(50)}};
  diamond.schedule.transfers = {{ValueId(0), DeviceId(0), DeviceId(1), Duration(10), Duration(13)},
                                {ValueId(2), DeviceId(1), DeviceId(0), Duration(43), Duration(46)}};
  ASSERT_THAT(broken(diamond.problem, diamond.schedule), ElementsAre());
  const auto causes = Explanation(diamond.problem, diamond.schedule).idle_by_cause()[0];
  EXPECT_EQ(causes[at(IdleCause::kInput)], Duration(13));    // 30 to 43
  EXPECT_EQ(causes[at(IdleCause::kTransfer)], Duration(3));  // 43 to 46
  EXPECT_EQ(causes[at(IdleCause::kHeld)], Duration(4));      // 46 to 50
}

TEST(Explanation, memory_is_named_where_an_operator_waits_for_its_release) {
  // Two independent operators of 10 ns whose outputs of 6 bytes a third each consumes; 10 bytes: the second
  // producer waits until the first value is gone although its stream is free.
  const auto make = [](std::string name, std::string stream, std::vector<TensorId> in, std::vector<TensorId> out) {
    Operator op;
    op.name = std::move(name);
    op.streams = {std::move(stream)};
    op.durations = {{"", Duration(10)}};
    op.inputs = std::move(in);
    op.outputs = std::move(out);
    return op;
  };
  const auto graph =
      ComputationGraph::create("two values",
                               {make("a", "compute", {}, {TensorId(0)}), make("use a", "comm", {TensorId(0)}, {}),
                                make("b", "compute", {}, {TensorId(1)}), make("use b", "comm", {TensorId(1)}, {})},
                               {{"va", Bytes(6), {}, {}}, {"vb", Bytes(6), {}, {}}}, {});
  ClusterParts parts;
  parts.devices = {{"d", "", Bytes(10), {"compute", "comm"}}};
  const Problem problem = Problem::create(graph, Cluster::create(parts));
  // a 0-10, use a 10-20, b 20-30, use b 30-40.
  Schedule schedule;
  schedule.tasks.resize(4);
  for (std::size_t t = 0; t < 4; ++t) {
    const std::string& name = problem.op(TaskId(t)).name;
    schedule.tasks[t].start = Duration(name == "a" ? 0 : name == "use a" ? 10 : name == "b" ? 20 : 30);
  }
  ASSERT_THAT(broken(problem, schedule), ElementsAre());
  const Explanation explanation(problem, schedule);
  EXPECT_EQ(explanation.idle_by_cause()[0][at(IdleCause::kMemory)], Duration(10));
  const auto path = explanation.critical_path();
  ASSERT_EQ(path.size(), 4U);
  EXPECT_EQ(path[2].binding, Binding::kMemory);
  EXPECT_EQ(problem.op(*path[1].task).name, "use a");
}

TEST(Explanation, idle_time_by_cause_sums_to_the_bubble_of_every_device) {
  const int plans = for_random_plans(200, [](const Problem& problem, const Schedule& schedule) {
    const PlanStatistics figures = statistics(problem, schedule);
    const auto causes = Explanation(problem, schedule).idle_by_cause();
    ASSERT_EQ(causes.size(), figures.devices.size());
    for (std::size_t d = 0; d < causes.size(); ++d) {
      ASSERT_EQ(std::accumulate(causes[d].begin(), causes[d].end(), Duration()), figures.devices[d].bubble);
    }
  });
  EXPECT_GE(plans, 100);
}

// The statement "it waited for X until T" is that a start just before T breaks the rule of X, and the statement
// "held" is that a start at its beginning breaks none.
TEST(Explanation, every_cause_of_idle_time_is_the_rule_that_an_earlier_start_would_break) {
  std::array<int, kIdleCauses> seen{};
  for_random_plans(300, [&](const Problem& problem, const Schedule& schedule) {
    for (const IdleSpan& span : Explanation(problem, schedule).idle_spans()) {
      ++seen[at(span.cause)];
      if (!span.next || span.cause == IdleCause::kRampUp) continue;
      if (span.cause == IdleCause::kHeld) {
        ASSERT_THAT(broken(problem, with_start(schedule, *span.next, span.from)), ElementsAre());
        continue;
      }
      const auto rules = broken(problem, with_start(schedule, *span.next, before(span.until)));
      switch (span.cause) {
        case IdleCause::kTransfer:
          ASSERT_TRUE(contains(rules, {Rule::kPresence}));
          break;
        case IdleCause::kMemory:
          ASSERT_TRUE(contains(rules, {Rule::kMemory}));
          break;
        default:  // data, or (of gangs) the stream of another device
          ASSERT_TRUE(contains(rules, {Rule::kPresence, Rule::kStream})) << to_string(span.cause);
      }
    }
  });
  for (const IdleCause cause : {IdleCause::kInput, IdleCause::kTransfer, IdleCause::kStream, IdleCause::kMemory,
                                IdleCause::kHeld, IdleCause::kRampUp, IdleCause::kRampDown, IdleCause::kUnused}) {
    EXPECT_GT(seen[at(cause)], 5) << to_string(cause);
  }
}

TEST(Explanation, critical_path_fills_the_makespan_and_each_step_is_forced_by_the_one_before) {
  std::array<int, 6> seen{};
  const int plans = for_random_plans(300, [&](const Problem& problem, const Schedule& schedule) {
    const Explanation explanation(problem, schedule);
    Duration reached;
    bool waited = false;
    for (const PathStep& step : explanation.critical_path()) {
      ASSERT_EQ(step.from, reached);
      reached = step.until;
      if (!step.task && !step.transfer) {
        waited = true;
        continue;
      }
      ++seen[static_cast<std::size_t>(step.binding)];
      if (!waited && step.binding != Binding::kStart) {
        const auto rules = step.task
                               ? broken(problem, with_start(schedule, *step.task, before(step.from)))
                               : broken(problem, with_transfer_start(schedule, *step.transfer, before(step.from)));
        switch (step.binding) {
          case Binding::kMemory:
            ASSERT_TRUE(contains(rules, {Rule::kMemory}));
            break;
          case Binding::kStream:
            ASSERT_TRUE(contains(rules, {Rule::kStream}));
            break;
          case Binding::kInput:
          case Binding::kTransfer:
            ASSERT_TRUE(contains(rules, {step.task ? Rule::kPresence : Rule::kTransfer, Rule::kPresence}));
            break;
          default:
            ASSERT_TRUE(contains(rules, {Rule::kTransfer})) << to_string(step.binding);
        }
      }
      waited = false;
    }
    ASSERT_EQ(reached, schedule.makespan(problem));
  });
  EXPECT_GE(plans, 100);
  for (std::size_t binding = 0; binding < seen.size(); ++binding) EXPECT_GT(seen[binding], 5) << binding;
}

// A path without waiting and without memory is a proof that the order takes this long.
TEST(Explanation, no_replay_of_the_order_is_shorter_than_a_path_of_work_alone) {
  int proofs = 0;
  for_random_plans(300, [&](const Problem& problem, const Schedule& schedule) {
    if (problem.settings().contention != Contention::kNone) return;
    const auto path = Explanation(problem, schedule).critical_path();
    const bool is_proof = std::ranges::all_of(
        path, [](const PathStep& step) { return (step.task || step.transfer) && step.binding != Binding::kMemory; });
    const Duration replay = simulate(problem, execution_order(problem, schedule)).makespan;
    ASSERT_LE(replay, schedule.makespan(problem));
    if (is_proof) {
      ASSERT_EQ(replay, schedule.makespan(problem));
    }
    proofs += is_proof ? 1 : 0;
  });
  EXPECT_GT(proofs, 20);
}

// A task that takes longer by its slack delays nobody's end beyond the makespan; by one nanosecond more it does.
TEST(Explanation, slack_is_exactly_what_a_task_may_take_longer_in_simulation) {
  int exact = 0;
  for_random_plans(300, [&](const Problem& problem, const Schedule& given) {
    if (problem.settings().contention != Contention::kNone) return;
    SimulationOptions options;
    for (std::size_t t = 0; t < problem.task_count(); ++t) {
      options.durations.push_back(problem.mode(TaskId(t), given.tasks[t].mode).duration);
      // The simulation also orders what takes no time; slack does not.
      if (options.durations.back() == Duration()) return;
    }
    const ExecutionOrder order = execution_order(problem, given);
    const Schedule schedule = simulate(problem, order).schedule;
    const Duration makespan = schedule.makespan(problem);
    const auto slack = Explanation(problem, schedule).slack();
    for (std::size_t t = 0; t < problem.task_count(); ++t) {
      SimulationOptions longer = options;
      longer.durations[t] += slack[t];
      ASSERT_LE(simulate(problem, order, longer).makespan, makespan) << problem.task_name(TaskId(t));
      longer.durations[t] += Duration(1);
      ASSERT_EQ(simulate(problem, order, longer).makespan, makespan + Duration(1)) << problem.task_name(TaskId(t));
      ++exact;
    }
  });
  EXPECT_GT(exact, 100);
}

TEST(Alternatives, cost_of_each_other_device_is_its_simulation) {
  const Diamond diamond;
  const auto found = alternatives(diamond.problem, diamond.schedule, OperatorId(1));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].from, DeviceId(1));
  EXPECT_EQ(found[0].moved_tasks, 1U);
  EXPECT_EQ(found[0].stays, Duration(45));
  // Everything on d0: 10 + 20 + 30 + 5.
  ASSERT_EQ(found[0].others.size(), 1U);
  EXPECT_EQ(found[0].others[0].makespan, Duration(65));
}

TEST(Alternatives, memory_that_a_move_would_exceed_is_said) {
  const Problem problem = Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster(Bytes(350)));
  const auto found = alternatives(problem, Diamond().schedule, OperatorId(1));
  // On d0 alone, t, l and r are live together with b while bottom runs: 100 for each but t, which ended.
  ASSERT_EQ(found[0].others.size(), 1U);
  const bool fits = found[0].others[0].fits_memory;
  Schedule alone = Diamond().schedule;
  alone.tasks[1].mode = 0;
  const auto result = simulate(problem, execution_order(problem, alone));
  EXPECT_EQ(fits, statistics(problem, result.schedule).devices[0].peak_memory <= Bytes(350));
}

}  // namespace
}  // namespace opweave
