// Bounds and proofs against exact optima of tiny random problems.
#include "support/brute_force.h"

#include <gtest/gtest.h>

#include <iostream>
#include <map>

#include "opweave/bounds.h"
#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/pipeline.h"
#include "opweave/plan.h"
#include "support/random_problems.h"
#include "support/tight_problems.h"
#include "support/tiny_diamond.h"

namespace opweave {
namespace {

using testing::brute_force;

TEST(BruteForce, tiny_diamond_takes_45_on_two_devices_and_65_on_one) {
  // Two devices: top 0-10 and right 10-40 on d0, left on d1 after a transfer of 3 ns: 13-33, back at
  // 36, bottom 40-45. One device: 10 + 20 + 30 + 5 = 65.
  const Problem two = Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster());
  const auto answer = brute_force(two);
  ASSERT_TRUE(answer.finished && answer.best);
  EXPECT_EQ(answer.best->makespan(two), Duration(45));

  ClusterParts parts = testing::tiny_cluster().parts();
  parts.devices.pop_back();
  const Problem one = Problem::create(testing::tiny_diamond_graph(), Cluster::create(parts));
  EXPECT_EQ(brute_force(one).best->makespan(one), Duration(65));
}

TEST(BruteForce, waits_for_memory_and_says_when_there_is_none) {
  // top, left and right have 100 bytes each; while bottom runs, l, r and its own output are live: 300.
  const Problem enough = Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster(Bytes(300)));
  EXPECT_TRUE(brute_force(enough).best);
  const Problem short_of_one = Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster(Bytes(299)));
  const auto answer = brute_force(short_of_one);
  EXPECT_TRUE(answer.finished);
  EXPECT_FALSE(answer.best);
}

/// What the bounds said about random problems whose optimum is known.
struct Tally {
  int optima = 0;
  int infeasible = 0;
  int proven_infeasible = 0;
  int too_large = 0;
  int rejected = 0;
  int tight = 0;
  std::map<std::string, int> tight_by_bound;
  std::map<std::string, int> alone_by_bound;  // reached the optimum, and no other bound did
};

void compare(std::uint64_t seed, const testing::RandomProblem& random, Tally& tally) {
  std::optional<Problem> problem;
  try {
    problem = random.problem();
  } catch (const InputError&) {
    ++tally.rejected;
    return;
  }
  const std::vector<std::string> proofs = infeasibility_proofs(*problem);
  const std::vector<LowerBound> bounds = lower_bounds(*problem);
  ASSERT_FALSE(bounds.empty());
  const auto answer = brute_force(*problem, 100'000);
  if (!answer.finished) {
    ++tally.too_large;
    return;
  }
  if (!answer.best) {
    ++tally.infeasible;
    if (!proofs.empty()) ++tally.proven_infeasible;
    return;
  }
  ++tally.optima;
  const Plan plan = make_plan(*problem, *answer.best, bounds, {});
  const auto violations = check(problem->graph(), problem->cluster(), plan);
  ASSERT_TRUE(violations.empty()) << "seed " << seed << ": the search is wrong: " << violations.front().message;
  ASSERT_TRUE(proofs.empty()) << "seed " << seed << " has a schedule, but: " << proofs.front();
  const Duration optimum = answer.best->makespan(*problem);
  std::vector<std::string> reached;
  for (const LowerBound& bound : bounds) {
    ASSERT_LE(bound.value, optimum) << "seed " << seed << ": bound " << bound.name << " (" << bound.detail << ")";
    if (bound.value == optimum) reached.push_back(bound.name);
  }
  if (!reached.empty()) ++tally.tight;
  for (const std::string& name : reached) ++tally.tight_by_bound[name];
  if (reached.size() == 1) ++tally.alone_by_bound[reached.front()];
}

void print(const char* what, const Tally& tally) {
  std::cout << what << ": " << tally.optima << " optima, best bound equal for " << tally.tight << "; "
            << tally.infeasible << " without a schedule, " << tally.proven_infeasible << " of them proven; "
            << tally.too_large << " too large, " << tally.rejected << " not a problem\n";
  for (const auto& [name, count] : tally.tight_by_bound) {
    const auto alone = tally.alone_by_bound.find(name);
    std::cout << "  " << name << " equal " << count << ", alone "
              << (alone == tally.alone_by_bound.end() ? 0 : alone->second) << "\n";
  }
}

TEST(BruteForce, no_bound_exceeds_the_optimum_of_free_pipelines_whose_layers_stay_whole) {
  // What group-ramp rests on: every layer on one device, loads that are sums of layers, parameters that take memory.
  Tally tally;
  for (std::uint64_t seed = 1; seed <= testing::seeds(400) && !HasFatalFailure(); ++seed) {
    testing::Dice dice(seed);
    PipelineSpec spec;
    spec.shape = PipelineShape::kFree;
    const std::int64_t layers = dice.roll(2, 4);
    const bool equal = dice.chance(50);
    const Duration forward(dice.roll(1, 4));
    const Duration backward(dice.roll(1, 4));
    for (std::int64_t i = 0; i < layers; ++i) {
      Layer layer;
      layer.name = "layer" + std::to_string(i);
      layer.operators = {{"op",
                          "",
                          {"compute"},
                          equal ? forward : Duration(dice.roll(1, 4)),
                          equal ? backward : Duration(dice.roll(1, 4)),
                          std::nullopt}};
      layer.activation = Bytes(dice.roll(0, 2));
      layer.weights = Bytes(dice.chance(50) ? 2 : 0);
      spec.layers.push_back(layer);
    }
    spec.training.microbatches = layers == 2 ? 3 : static_cast<std::uint32_t>(dice.roll(1, 2));
    if (spec.training.microbatches == 2 && dice.chance(30)) spec.training.replicas = 2;
    testing::RandomProblem random;
    const ComputationGraph graph = build_pipeline(spec);
    random.operators = graph.operators();
    random.tensors = graph.tensors();
    random.parameters = graph.parameters();
    random.training = spec.training;
    random.cluster = uniform_cluster(dice.chance(80) ? 2 : 3, {"compute"}, Bytes(dice.roll(3, 10)),
                                     Duration(dice.chance(50) ? 0 : 1))
                         .parts();
    compare(seed, random, tally);
  }
  print("free pipelines", tally);
  EXPECT_GT(tally.optima, 150);
  EXPECT_GT(tally.tight_by_bound["group-ramp"], 30);
}

TEST(BruteForce, no_bound_exceeds_the_optimum_of_random_problems) {
  Tally tally;
  for (std::uint64_t seed = 1; seed <= testing::seeds(1000) && !HasFatalFailure(); ++seed) {
    compare(seed, testing::random_problem(seed), tally);
  }
  print("random problems of at most 8 tasks", tally);
  EXPECT_GE(tally.optima, 500);
}

TEST(BruteForce, no_bound_exceeds_the_optimum_of_random_problems_with_few_pinned_operators) {
  Tally tally;
  for (std::uint64_t seed = 1; seed <= testing::seeds(600) && !HasFatalFailure(); ++seed) {
    compare(seed, testing::random_problem(seed, {6, 20, 90, true, 1}), tally);
  }
  print("random problems of at most 6 tasks, mostly free, with little memory", tally);
  EXPECT_GE(tally.optima, 200);
}

// Nor does a proof exclude a plan that there is.
TEST(BruteForce, no_bound_exceeds_the_optimum_of_tight_problems) {
  Tally tally;
  for (std::uint64_t seed = 1; seed <= testing::seeds(1000) && !HasFatalFailure(); ++seed) {
    compare(seed, testing::tight_problem(seed), tally);
  }
  print("problems of at most 5 tasks in little memory, some apart, with few routes", tally);
  EXPECT_GE(tally.optima, 300);
  EXPECT_GE(tally.proven_infeasible, 200);
}

TEST(BruteForce, no_bound_exceeds_the_optimum_of_random_pipelines) {
  Tally tally;
  for (std::uint64_t seed = 1; seed <= testing::seeds(3000) && !HasFatalFailure(); ++seed) {
    compare(seed, testing::random_pipeline(seed), tally);
  }
  print("random pipelines of at most 14 tasks with little memory", tally);
  EXPECT_GE(tally.optima, 500);
}

/// First broken rule among precedence, streams and memory; empty if none. Transfers are not looked at.
std::string broken_rule(const Problem& problem, const Schedule& schedule) {
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const TaskId task(t);
    for (const TaskId before : problem.predecessors(task)) {
      if (schedule.end(problem, before) > schedule.tasks[t].start) return "precedence of " + problem.task_name(task);
    }
    for (std::size_t u = 0; u < t; ++u) {
      const TaskId other(u);
      const bool share = (problem.streams(task) & problem.streams(other)) != 0 &&
                         problem.mode(task, 0).devices.front() == problem.mode(other, 0).devices.front();
      const bool instant =
          problem.shortest(task) == Duration() || problem.shortest(other) == Duration();  // occupies nothing
      const bool apart = schedule.end(problem, other) <= schedule.tasks[t].start ||
                         schedule.end(problem, task) <= schedule.tasks[u].start;
      if (share && !apart && !instant)
        return "stream of " + problem.task_name(task) + " and " + problem.task_name(other);
    }
  }
  const auto curves = memory_curves(problem, schedule);
  for (std::size_t d = 0; d < curves.size(); ++d) {
    for (const MemoryStep& step : curves[d]) {
      if (step.bytes > problem.capacity(DeviceId(d)).value_or(step.bytes)) return "memory";
    }
  }
  return "";
}

/// Tasks in a random order that keeps precedence, each as early as its streams allow.
Schedule random_order(const Problem& problem, testing::Dice& dice) {
  Schedule schedule;
  schedule.tasks.resize(problem.task_count());
  std::vector<bool> placed(problem.task_count(), false);
  std::map<unsigned, Duration> free;  // by stream
  for (std::size_t n = 0; n < problem.task_count(); ++n) {
    std::vector<TaskId> ready;
    for (std::size_t t = 0; t < problem.task_count(); ++t) {
      const auto before = problem.predecessors(TaskId(t));
      if (!placed[t] && std::all_of(before.begin(), before.end(), [&](TaskId b) { return placed[b.index()]; })) {
        ready.emplace_back(t);
      }
    }
    const TaskId task = ready[static_cast<std::size_t>(dice.roll(0, std::ssize(ready) - 1))];
    Duration start;
    for (const TaskId before : problem.predecessors(task)) start = std::max(start, schedule.end(problem, before));
    for (unsigned s = 0; s < 32; ++s) {
      if ((problem.streams(task) >> s & 1U) != 0) start = std::max(start, free[s]);
    }
    schedule.tasks[task.index()].start = start;
    placed[task.index()] = true;
    for (unsigned s = 0; s < 32; ++s) {
      if ((problem.streams(task) >> s & 1U) != 0) free[s] = schedule.end(problem, task);
    }
  }
  return schedule;
}

TEST(CopiesInOrder, a_valid_schedule_stays_valid_when_the_copies_of_each_operator_are_put_in_order) {
  // The lemma under every bound that uses ranks (docs/bounds.md, "Copies in order").
  int valid = 0;
  int reordered = 0;
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    const testing::RandomProblem random = testing::random_pipeline(seed);
    if (random.cluster.devices.size() != 1 || random.training.replicas != 1) continue;
    const Problem problem = random.problem();
    testing::Dice dice(seed);
    Schedule schedule = random_order(problem, dice);
    for (int attempt = 0; attempt < 20 && !broken_rule(problem, schedule).empty(); ++attempt) {
      schedule = random_order(problem, dice);
    }
    if (!broken_rule(problem, schedule).empty()) continue;  // more memory than there is
    ++valid;
    Schedule sorted = schedule;
    for (std::size_t o = 0; o < problem.graph().operators().size(); ++o) {
      std::vector<Duration> starts;
      for (std::uint32_t c = 0; c < random.training.microbatches; ++c) {
        starts.push_back(schedule.tasks[problem.task_of(OperatorId(o), c).index()].start);
      }
      if (!std::is_sorted(starts.begin(), starts.end())) ++reordered;
      std::sort(starts.begin(), starts.end());
      for (std::uint32_t c = 0; c < random.training.microbatches; ++c) {
        sorted.tasks[problem.task_of(OperatorId(o), c).index()].start = starts[c];
      }
    }
    ASSERT_EQ(broken_rule(problem, sorted), "") << "seed " << seed;
  }
  std::cout << valid << " schedules, in which " << reordered << " operators had their copies out of order\n";
  EXPECT_GT(valid, 300);
  EXPECT_GT(reordered, 300);
}

}  // namespace
}  // namespace opweave
