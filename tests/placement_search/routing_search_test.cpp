#include "placement_search/routing_search.h"

#include <gtest/gtest.h>

#include <iostream>
#include <optional>

#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/plan.h"
#include "opweave/planner.h"
#include "placement_search/routing_graph.h"
#include "placement_search/routing_model.h"
#include "support/brute_force.h"
#include "support/job_shop.h"
#include "support/random_problems.h"

namespace opweave {
namespace {

using routing::Graph;
using routing::Insertion;
using routing::Model;
using routing::Node;

/// What construction finds, if anything.
std::optional<Schedule> first_schedule(const Problem& problem) {
  const PlanResult result = plan(problem, Budget(std::nullopt, 0));
  if (!result.plan) return std::nullopt;
  return to_schedule(problem, *result.plan);
}

std::optional<Problem> random_problem(std::uint64_t seed, int memory_percent) {
  testing::RandomShape shape;
  shape.pinned_percent = 20;
  shape.memory_percent = memory_percent;
  try {
    return testing::random_problem(seed, shape).problem();
  } catch (const InputError&) {
    return std::nullopt;
  }
}

bool is_accepted(const Problem& problem, const Schedule& schedule) {
  return check(problem.graph(), problem.cluster(), make_plan(problem, schedule, {}, {}), 1).empty();
}

bool never() { return false; }

TEST(RoutingGraph, knows_the_makespan_of_an_insertion_before_it_is_made) {
  // On graphs with gangs, several streams and transfers; without memory and contention the graph is the whole truth.
  std::size_t insertions = 0;
  for (std::uint64_t seed = 1; seed <= testing::seeds(150); ++seed) {
    const auto problem = seed % 3 == 0 ? testing::random_job_shop(seed, 4, 4, 3) : random_problem(seed, 0);
    if (!problem) continue;
    const auto schedule = first_schedule(*problem);
    const auto model = Model::create(*problem);
    if (!schedule || !model || model->needs_exact_timing()) continue;
    const Graph graph(model, *schedule);
    EXPECT_LE(graph.makespan(), schedule->makespan(*problem).value()) << seed;
    EXPECT_TRUE(is_accepted(*problem, graph.schedule())) << seed;
    Random random(seed);
    for (Node task = 0; task < model->task_count(); ++task) {
      const std::uint32_t group = model->group_of(task);
      const bool is_alone = model->tasks_of(group).size() == 1;
      for (std::uint32_t option = 0; option < model->option_count(group); ++option) {
        if (!is_alone && option != graph.option(task)) continue;
        for (const bool best : {true, false}) {
          Graph changed = graph;
          changed.lift(task);
          const auto insertion =
              best ? changed.best_insertion(option, random) : changed.random_insertion(option, random);
          if (!insertion) continue;
          changed.apply(*insertion);
          EXPECT_EQ(changed.makespan(), insertion->makespan) << seed << " task " << task << " option " << option;
          EXPECT_GE(insertion->makespan, insertion->through);
          ++insertions;
        }
      }
    }
  }
  EXPECT_GT(insertions, 1000U);
}

TEST(RoutingGraph, reroutes_whole_groups) {
  std::size_t rerouted = 0;
  for (std::uint64_t seed = 1; seed <= testing::seeds(150); ++seed) {
    const auto problem = random_problem(seed, 0);
    if (!problem) continue;
    const auto schedule = first_schedule(*problem);
    const auto model = Model::create(*problem);
    if (!schedule || !model || model->needs_exact_timing()) continue;
    for (std::uint32_t group = 0; group < model->group_count(); ++group) {
      const auto first = static_cast<Node>(model->tasks_of(group).front().index());
      for (std::uint32_t option = 0; option < model->option_count(group); ++option) {
        Graph graph(model, *schedule);
        if (option == graph.option(first) || !graph.reroute(group, option)) continue;
        ++rerouted;
        EXPECT_EQ(graph.option(first), option);
        if (problem->apart_from(GroupId(group)).empty()) {
          EXPECT_TRUE(is_accepted(*problem, graph.schedule())) << seed;
        }
      }
    }
  }
  EXPECT_GT(rerouted, 50U);
}

TEST(RoutingSearch, agrees_with_brute_force_on_tiny_problems) {
  // Gangs, streams, transfers, contention, memory, parameters, groups of several tasks. The search promises no
  // optimum; where memory or contention count, its times lie on the safe side, so that a few optima are out of reach.
  std::size_t problems = 0;
  std::size_t optima = 0;
  for (std::uint64_t seed = 1; seed <= testing::seeds(400); ++seed) {
    const auto problem = random_problem(seed, seed % 2 == 0 ? 65 : 0);
    if (!problem) continue;
    const auto start = first_schedule(*problem);
    const auto model = Model::create(*problem);
    if (!start || !model || !model->has_choice()) continue;
    const auto truth = testing::brute_force(*problem, 300'000);
    if (!truth.finished) continue;
    ASSERT_TRUE(truth.best.has_value());
    RoutingSearch search(model, *start, seed);
    search.advance(3000, never, {});
    ASSERT_TRUE(is_accepted(*problem, search.best())) << seed;
    EXPECT_EQ(search.makespan(), search.best().makespan(*problem));
    EXPECT_GE(search.makespan(), truth.best->makespan(*problem)) << seed;
    EXPECT_LE(search.makespan(), start->makespan(*problem)) << seed;
    ++problems;
    optima += search.makespan() == truth.best->makespan(*problem) ? 1U : 0U;
  }
  std::cout << optima << " optima of " << problems << "\n";
  EXPECT_GT(problems, 60U);
  EXPECT_GE(optima * 100, problems * 95);
}

TEST(RoutingSearch, goes_on_where_it_stopped) {
  const Problem problem = testing::random_job_shop(5, 8, 6, 4);
  const auto model = Model::create(problem);
  const Schedule start = *first_schedule(problem);
  RoutingSearch at_once(model, start, 3);
  at_once.advance(20'000, never, {});
  RoutingSearch in_parts(model, start, 3);
  Duration before = start.makespan(problem);
  for (std::uint64_t evaluations = 1000; evaluations <= 20'000; evaluations += 1000) {
    in_parts.advance(evaluations, never, {});
    EXPECT_LE(in_parts.makespan(), before);
    before = in_parts.makespan();
  }
  EXPECT_EQ(in_parts.makespan(), at_once.makespan());
  EXPECT_EQ(in_parts.evaluations(), at_once.evaluations());
  EXPECT_EQ(in_parts.best().transfers, at_once.best().transfers);
}

TEST(RoutingSearch, is_never_worse_than_what_it_adopts) {
  const Problem problem = testing::random_job_shop(6, 8, 6, 4);
  const auto model = Model::create(problem);
  const Schedule start = *first_schedule(problem);
  RoutingSearch good(model, start, 1);
  good.advance(20'000, never, {});
  RoutingSearch other(model, start, 2);
  other.adopt(good.best());
  EXPECT_EQ(other.makespan(), good.makespan());
  other.advance(2000, never, {});
  EXPECT_LE(other.makespan(), good.makespan());
}

TEST(RoutingSearch, reports_ever_better_valid_schedules) {
  const Problem problem = testing::random_job_shop(7, 10, 6, 4);
  const auto model = Model::create(problem);
  const Schedule start = *first_schedule(problem);
  Duration last = start.makespan(problem);
  std::size_t reports = 0;
  RoutingSearch search(model, start, 1);
  search.advance(10'000, never, [&](const Schedule& schedule) {
    EXPECT_TRUE(is_accepted(problem, schedule));
    EXPECT_LT(schedule.makespan(problem), last);
    last = schedule.makespan(problem);
    ++reports;
  });
  EXPECT_GT(reports, 0U);
  EXPECT_EQ(last, search.makespan());
}

TEST(RoutingSearch, stops_when_told) {
  const Problem problem = testing::random_job_shop(8, 8, 6, 4);
  RoutingSearch search(Model::create(problem), *first_schedule(problem), 1);
  std::size_t asked = 0;
  search.advance(1'000'000'000, [&] { return ++asked > 10; }, {});
  EXPECT_EQ(asked, 11U);
}

}  // namespace
}  // namespace opweave
