#include <gtest/gtest.h>

#include <fmt/format.h>

#include "layouts/earliest_selection.h"
#include "layouts/layout_bounds.h"
#include "layouts/layout_problems.h"

namespace opweave {
namespace {

std::optional<Duration> bound_named(const LayoutProblem& problem, const std::string& name) {
  MovementCosts costs(problem);
  for (const LowerBound& bound : relax_layouts(costs, Budget()).bounds) {
    if (bound.name == name) return bound.value;
  }
  return std::nullopt;
}

LayoutProblem problem_of(const std::string& tensors, const std::string& operators, const std::string& more = "") {
  return testing::layout_problem(R"json({"format": "opweave.graph", "version": 2, )json" + more +
                                     R"json("tensors": [)json" + tensors + R"json(], "operators": [)json" + operators +
                                     "]}",
                                 testing::four_devices());
}

TEST(LayoutBounds, a_path_has_the_least_movement_of_each_pair_of_options) {
  // From one gang to another: parts of 8 bytes on each device, in max(2, 2) steps from 2 devices: 2 x 2 + 8 x 2 / 2.
  const LayoutProblem forced = problem_of(R"json({"name": "y", "bytes": 8})json", R"json(
      {"name": "a", "outputs": ["y"], "options": [
        {"name": "o", "mesh": "left", "duration_ns": 10, "layouts": {"y": "S(0)"}}]},
      {"name": "b", "inputs": ["y"], "options": [{"name": "o", "mesh": "right", "duration_ns": 5}]})json");
  EXPECT_EQ(bound_named(forced, "option-path"), Duration(10 + 12 + 5));
  EXPECT_EQ(layout_bounds(forced, Budget()).front().value, Duration(15));
  // The slower option of b needs no movement: 10 + 14. Whoever makes y whole takes 13, and a transfer of 2 + 8.
  const LayoutProblem open = problem_of(R"json({"name": "y", "bytes": 8})json", R"json(
      {"name": "a", "outputs": ["y"], "options": [
        {"name": "o", "mesh": "left", "duration_ns": 10, "layouts": {"y": "S(0)"}},
        {"name": "whole", "mesh": "left", "duration_ns": 13}]},
      {"name": "b", "inputs": ["y"], "options": [
        {"name": "o", "mesh": "right", "duration_ns": 5},
        {"name": "here", "mesh": "left", "duration_ns": 14, "layouts": {"y": "S(0)"}}]})json");
  EXPECT_EQ(bound_named(open, "option-path"), Duration(24));
}

TEST(LayoutBounds, operators_that_choose_together_do_not_choose_apart) {
  // One by one a would take "fast" and b would take "slow", without a movement.
  const LayoutProblem problem = problem_of(R"json({"name": "y", "bytes": 8})json", R"json(
      {"name": "a", "choice": "c", "outputs": ["y"], "options": [
        {"name": "fast", "mesh": "left", "duration_ns": 1, "layouts": {"y": "S(0)"}},
        {"name": "slow", "mesh": "left", "duration_ns": 40, "layouts": {"y": "S(1)"}}]},
      {"name": "b", "choice": "c", "inputs": ["y"], "options": [
        {"name": "fast", "mesh": "left", "duration_ns": 40, "layouts": {"y": "S(0)"}},
        {"name": "slow", "mesh": "left", "duration_ns": 1, "layouts": {"y": "S(0)"}}]})json");
  // "slow" has an all_to_all: (2 - 1) x 2 + 8 / 4 = 4.
  EXPECT_EQ(bound_named(problem, "option-path"), Duration(41));
}

TEST(LayoutBounds, reductions_are_part_of_the_path) {
  const LayoutProblem problem = problem_of(R"json({"name": "y", "bytes": 8})json", R"json(
      {"name": "f", "phase": "F", "outputs": ["y"], "parameters": ["w"], "options": [
        {"name": "o", "mesh": "left", "duration_ns": 10}]},
      {"name": "b", "phase": "B", "inputs": ["y"], "parameters": ["w"], "options": [
        {"name": "o", "mesh": "left", "duration_ns": 20}]},
      {"name": "s", "phase": "O", "parameters": ["w"], "options": [
        {"name": "o", "mesh": "left", "duration_ns": 3}]})json",
                                           R"json("training": {"microbatches": 3, "gradient_bytes_per_weight_byte": 1},
                                           "parameters": [{"name": "w", "bytes": 16}], )json");
  // All copies of f and b on one gang, an all_reduce of 2 x 2 + 16, the step.
  EXPECT_EQ(bound_named(problem, "option-path"), Duration(3 * 30 + 20 + 3));
  const LayoutPlanResult result = plan_with_layouts(problem, Budget({}, 500));
  ASSERT_TRUE(result.plan);
  EXPECT_EQ(result.plan->plan.statistics.makespan, Duration(113));
  EXPECT_EQ(result.plan->plan.status, PlanStatus::kOptimal);
}

/// Operators a of one gang, each with a reader b that wants whole what a makes in parts: an all_gather of 2 + 4 each.
LayoutProblem many_gathers(int count, const std::string& more_options) {
  std::string tensors;
  std::string operators;
  for (int i = 0; i < count; ++i) {
    const char* comma = i > 0 ? ", " : "";
    tensors += fmt::format(R"json({}{{"name": "y{}", "bytes": 8}})json", comma, i);
    operators += fmt::format(
        R"json({}{{"name": "a{}", "outputs": ["y{}"], "options": [
            {{"name": "o", "mesh": "left", "duration_ns": 1, "layouts": {{"y{}": "S(0)"}}}}{}]}},
          {{"name": "b{}", "inputs": ["y{}"], "options": [{{"name": "o", "mesh": "left", "duration_ns": 1}}]}})json",
        comma, i, i, i, more_options, i, i);
  }
  return problem_of(tensors, operators);
}

TEST(LayoutBounds, work_on_the_stream_of_movements_counts) {
  const LayoutProblem problem = many_gathers(20, "");
  EXPECT_EQ(bound_named(problem, "option-load"), Duration(20 * 6));
  EXPECT_EQ(bound_named(problem, "option-path"), Duration(8));
}

TEST(LayoutBounds, where_movements_cost_more_than_they_save_the_bound_knows_both_streams) {
  // Alone on d0 a takes 5, makes y whole, and sends it to d1 beside all streams. k of 20 do so: the stream of movements
  // has 6 (20 - k) to do, compute of d0 has 40 + 4 k. They meet at k = 8, at 72.
  const LayoutProblem problem = many_gathers(20, R"json(, {"name": "alone", "devices": ["d0"], "duration_ns": 5})json");
  const auto bound = bound_named(problem, "option-load");
  ASSERT_TRUE(bound);
  EXPECT_LE(*bound, Duration(72));
  EXPECT_GE(*bound, Duration(70));
}

TEST(LayoutBounds, readers_that_want_the_same_share_a_movement) {
  const LayoutProblem problem = problem_of(R"json({"name": "y", "bytes": 80})json", R"json(
      {"name": "a", "outputs": ["y"], "options": [
        {"name": "o", "mesh": "left", "duration_ns": 1, "layouts": {"y": "S(0)"}}]},
      {"name": "b", "inputs": ["y"], "options": [{"name": "o", "mesh": "left", "duration_ns": 1}]},
      {"name": "c", "inputs": ["y"], "options": [{"name": "o", "mesh": "left", "duration_ns": 1}]})json");
  EXPECT_EQ(bound_named(problem, "option-load"), Duration(2 + 40));
}

TEST(EarliestSelection, an_operator_runs_where_it_ends_first_with_the_movements_of_what_it_reads) {
  const auto problem_with = [](int duration_here) {
    return problem_of(R"json({"name": "y", "bytes": 8})json", fmt::format(R"json(
      {{"name": "a", "outputs": ["y"], "options": [
        {{"name": "o", "mesh": "left", "duration_ns": 10, "layouts": {{"y": "S(0)"}}}}]}},
      {{"name": "b", "inputs": ["y"], "options": [
        {{"name": "there", "mesh": "right", "duration_ns": 5}},
        {{"name": "here", "mesh": "left", "duration_ns": {}, "layouts": {{"y": "S(0)"}}}}]}})json",
                                                                          duration_here));
  };
  // There b ends at 10 + 12 + 5.
  for (const int here : {16, 18}) {
    const LayoutProblem problem = problem_with(here);
    MovementCosts costs(problem);
    EXPECT_EQ(earliest_selection(costs, 0), (LayoutSelection{0, here < 17 ? 1U : 0U})) << here;
  }
}

TEST(EarliestSelection, work_that_a_gang_wastes_may_count) {
  const LayoutProblem problem = problem_of(R"json({"name": "y", "bytes": 8})json", R"json(
      {"name": "a", "outputs": ["y"], "options": [
        {"name": "gang", "mesh": "all", "duration_ns": 9}, {"name": "alone", "devices": ["d0"], "duration_ns": 10}]})json");
  MovementCosts costs(problem);
  EXPECT_EQ(earliest_selection(costs, 0), LayoutSelection{0});
  EXPECT_EQ(earliest_selection(costs, 1), LayoutSelection{1});  // 9 + 9 against 10 + 10 / 4
}

}  // namespace
}  // namespace opweave
