/// A problem with a plan, for tests of the methods that improve it.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "opweave/check.h"
#include "opweave/planner.h"
#include "planner/incumbent.h"
#include "planner/search_method.h"
#include "support/equal_layers.h"
#include "support/random_problems.h"

namespace opweave::testing {

inline Schedule first_schedule(const Problem& problem) {
  return to_schedule(problem, *plan(problem, Budget(std::nullopt, 0)).plan);
}

inline bool is_accepted(const Problem& problem, const Schedule& schedule) {
  return check(problem.graph(), problem.cluster(), make_plan(problem, schedule, {}, {}), 1).empty();
}

/// What methods of a problem are made of.
struct Searched {
  Searched(const Problem& problem, const Schedule& start, const Budget& budget, std::uint64_t seed = 1)
      : traits(problem), context{traits, options}, store(problem, budget, {}) {
    options.seed = seed;
    EXPECT_TRUE(store.offer(start, "start"));
    context.starts = {{start, *store.makespan(), "start"}};
  }

  PlannerOptions options;
  const ProblemTraits traits;
  SearchContext context;
  IncumbentStore store;
};

inline Slice by_clock(const Budget& budget) { return {budget, std::nullopt}; }

/// Two chains that meet in one operator; two devices, links that take 4 ns.
inline Problem two_chains() {
  std::vector<Operator> operators(5);
  std::vector<Tensor> tensors(4);
  const std::int64_t durations[] = {3, 2, 2, 3, 1};
  for (std::size_t i = 0; i < operators.size(); ++i) {
    operators[i].name = std::string("op") + std::to_string(i);
    operators[i].durations = {{"", Duration(durations[i])}};
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    tensors[i].name = std::string("t") + std::to_string(i);
    operators[i].outputs = {TensorId(i)};
  }
  operators[1].inputs = {TensorId(0)};
  operators[3].inputs = {TensorId(2)};
  operators[4].inputs = {TensorId(1), TensorId(3)};
  return Problem::create(ComputationGraph::create("meet", std::move(operators), std::move(tensors), {}),
                         uniform_cluster(2, {"compute"}, std::nullopt, Duration(4), 1'000'000'000'000));
}

}  // namespace opweave::testing
