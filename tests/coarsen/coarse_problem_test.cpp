#include "coarsen/coarse_problem.h"

#include <gtest/gtest.h>

#include "opweave/check.h"
#include "opweave/planner.h"
#include "support/mergeable_problems.h"

namespace opweave {
namespace {

using coarsen::CoarseProblem;
using coarsen::merge;
using coarsen::MergeOptions;

/// a -> b, a -> c, (b, c) -> d with 3, 4, 5, 6 ns and 10, 20, 30, 40 bytes on one device.
Problem diamond(std::optional<Bytes> memory) {
  std::vector<Operator> operators(4);
  std::vector<Tensor> tensors(4);
  for (std::size_t i = 0; i < 4; ++i) {
    operators[i].name = std::string(1, static_cast<char>('a' + i));
    operators[i].durations = {{"", Duration(3 + static_cast<std::int64_t>(i))}};
    operators[i].outputs = {TensorId(i)};
    tensors[i].name = "t" + operators[i].name;
    tensors[i].size = Bytes(10 * (static_cast<std::int64_t>(i) + 1));
  }
  operators[1].inputs = {TensorId(0)};
  operators[2].inputs = {TensorId(0)};
  operators[3].inputs = {TensorId(1), TensorId(2)};
  operators[2].workspace = Bytes(7);
  return Problem::create(ComputationGraph::create("diamond", std::move(operators), std::move(tensors), {}),
                         uniform_cluster(1, {"compute"}, memory, Duration(0)));
}

TEST(CoarseProblem, adds_up_durations_and_carries_the_peak_of_what_only_its_members_hold) {
  // {b, c} are one operator of 4 + 5 ns. Outside: ta comes in, tb and tc leave; the workspace of c is all that is
  // inside.
  const Problem fine = diamond(std::nullopt);
  const CoarseProblem three(fine, {{0, 1, 1, 2}, 3});
  EXPECT_EQ(three.problem().graph().at(OperatorId(1)).durations.front().duration, Duration(9));
  EXPECT_EQ(three.problem().graph().at(OperatorId(1)).workspace, Bytes(7));
  EXPECT_EQ(three.problem().graph().tensors().size(), 3U);  // td is read by nobody
  // All in one: ta; ta + tb; ta + tb + tc + 7 = 67 while c runs; tb + tc + td = 90 while d does.
  const CoarseProblem one(fine, {{0, 0, 0, 0}, 1});
  EXPECT_EQ(one.problem().graph().at(OperatorId(0)).durations.front().duration, Duration(18));
  EXPECT_EQ(one.problem().graph().at(OperatorId(0)).workspace, Bytes(90));
  EXPECT_TRUE(one.problem().graph().tensors().empty());
}

TEST(CoarseProblem, every_valid_schedule_of_it_is_one_of_the_finer_problem_with_the_same_makespan) {
  std::size_t expanded = 0;
  for (const Problem& problem : testing::mergeable_problems(150, 40)) {
    for (const MergeOptions& options : testing::merge_options()) {
      const CoarseProblem coarse(problem, merge(problem, options));
      const PlanResult found = plan(coarse.problem(), Budget(std::nullopt, 0));
      if (!found.plan) continue;
      const Schedule schedule = to_schedule(coarse.problem(), *found.plan);
      const Schedule fine = coarse.expand(schedule);
      EXPECT_EQ(fine.makespan(problem), schedule.makespan(coarse.problem()));
      const auto violations = check(problem.graph(), problem.cluster(), make_plan(problem, fine, {}, {}), 1);
      ASSERT_TRUE(violations.empty()) << violations.front().message;
      ++expanded;
    }
  }
  EXPECT_GT(expanded, 300U);
}

}  // namespace
}  // namespace opweave
