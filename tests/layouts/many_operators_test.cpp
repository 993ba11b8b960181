#include <gtest/gtest.h>

#include "layouts/layout_problems.h"
#include "opweave/check_layouts.h"

namespace opweave {
namespace {

/// A chain in which each operator may run whole on one device, or on a gang that leaves parts or sums. What it makes is
/// 8 bytes.
LayoutProblem chain(int operators, const std::string& phase = "", std::optional<std::int64_t> memory = {}) {
  std::string tensors;
  std::string list;
  for (int i = 0; i < operators; ++i) {
    const std::string in = i > 0 ? fmt::format("\"t{}\"", i - 1) : "";
    const std::string read = i > 0 ? fmt::format(R"json("t{}": "S({})", )json", i - 1, i % 2) : "";
    tensors += fmt::format(R"json({}{{"name": "t{}", "bytes": 8}})json", i > 0 ? ", " : "", i);
    list += fmt::format(R"json({}{{"name": "f{}", "phase": "{}", "inputs": [{}], "outputs": ["t{}"], "options": [
             {{"name": "one", "devices": ["d{}"], "duration_ns": 400}},
             {{"name": "parts", "mesh": "left", "duration_ns": {}, "layouts": {{{}"t{}": "S(0)"}}}},
             {{"name": "sums", "mesh": "right", "duration_ns": {}, "layouts": {{{}"t{}": "P"}}}}]}})json",
                        i > 0 ? ", " : "", i, phase, in, i, i % 4, 200 + i % 7, read, i, 200 + i % 5, read, i);
  }
  return testing::layout_problem(R"json({"format": "opweave.graph", "version": 2, "tensors": [)json" + tensors +
                                     R"json(], "operators": [)json" + list + "]}",
                                 testing::four_devices(), memory);
}

TEST(ManyOperators, begin_with_a_plan_of_one_list_schedule) {
  const LayoutProblem problem = chain(3'000);
  const LayoutPlanResult result = plan_with_layouts(problem, Budget(2.0, std::nullopt));
  ASSERT_TRUE(result.plan) << result.result.detail;
  EXPECT_TRUE(check(problem.graph(), problem.cluster(), *result.plan).empty());
  const Improvement& first = result.plan->plan.provenance.trajectory.front();
  EXPECT_EQ(first.method, "earliest finish");
  // On a gang each takes at most 206 ns, and an all_to_all before it (n - 1) 2 + 8 (n - 1) / n^2 = 4 ns.
  EXPECT_LT(first.makespan, Duration(3'000 * 210 + 1));
}

TEST(ManyOperators, begin_with_a_plan_that_keeps_all_values_that_may_have_modes) {
  LayoutProblem problem = chain(3'000, "F");
  ProblemSettings settings = problem.settings();
  settings.memory_modes = {true, false};
  problem = LayoutProblem::create(problem.graph(), problem.cluster(), settings);
  ASSERT_TRUE(problem.chooses_modes());
  const LayoutPlanResult result = plan_with_layouts(problem, Budget(2.0, std::nullopt));
  ASSERT_TRUE(result.plan) << result.result.detail;
  EXPECT_TRUE(check(problem.graph(), problem.cluster(), *result.plan).empty());
  EXPECT_EQ(result.plan->plan.provenance.trajectory.front().method, "earliest finish");
}

TEST(ManyOperators, keep_to_little_memory) {
  // On a gang a device holds half of what is read, and half of what is made or a sum: at most 4 + 8 bytes.
  const LayoutProblem problem = chain(3'000, "", 16);
  const LayoutPlanResult result = plan_with_layouts(problem, Budget(2.0, std::nullopt));
  ASSERT_TRUE(result.plan) << result.result.detail;
  EXPECT_TRUE(check(problem.graph(), problem.cluster(), *result.plan).empty());
}

}  // namespace
}  // namespace opweave
