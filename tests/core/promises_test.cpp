// What docs/formats.md promises where one might guess otherwise: roundings, zeros, orders, limits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "opweave/check.h"
#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/plan.h"
#include "opweave/problem.h"

namespace opweave {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

Problem problem_of(const std::string& operators, const std::string& devices, const std::string& training = "{}",
                   const std::string& types = "[]") {
  return Problem::create(parse_graph(R"({"format": "opweave.graph", "version": 1, "training": )" + training +
                                         R"(, "parameters": [{"name": "p", "bytes": 3}, {"name": "q", "bytes": 100}],
                                         "operators": )" +
                                         operators + "}",
                                     "graph"),
                         parse_cluster(R"({"format": "opweave.cluster", "version": 1, "device_types": )" + types +
                                           R"(, "devices": )" + devices + "}",
                                       "cluster"));
}
template <class... Texts>
std::string refusal(const Texts&... texts) {
  try {
    (void)problem_of(texts...);
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

/// Tasks one after the other at the given starts, without transfers.
Plan plan_of(const Problem& problem, const std::vector<std::int64_t>& starts) {
  Schedule schedule;
  for (const std::int64_t start : starts) schedule.tasks.push_back({0, Duration(start)});
  return make_plan(problem, schedule, {}, {});
}

// Each term is rounded up by itself: 3 + ceil(1.5) + ceil(1.5) = 7, not 3 + 3.
TEST(Promises, gradients_and_optimizer_state_are_rounded_up_each) {
  const Problem problem =
      problem_of(R"([{"name": "a", "duration_ns": 1, "parameters": ["p"]}])", R"([{"name": "d"}])",
                 R"({"gradient_bytes_per_weight_byte": 0.5, "optimizer_bytes_per_weight_byte": 0.5})");
  const Plan plan = plan_of(problem, {0});
  EXPECT_EQ(plan.statistics.devices[0].persistent_memory, Bytes(7));
  EXPECT_THAT(check(problem.graph(), problem.cluster(), plan), IsEmpty());
}

// The product is one of doubles: 100 x 1.1 = 110.00000000000001, so 111 bytes of gradients.
TEST(Promises, the_product_with_a_factor_is_one_of_doubles) {
  const Problem problem = problem_of(R"([{"name": "a", "duration_ns": 1, "parameters": ["q"]}])", R"([{"name": "d"}])",
                                     R"({"gradient_bytes_per_weight_byte": 1.1})");
  const Plan plan = plan_of(problem, {0});
  EXPECT_EQ(plan.statistics.devices[0].persistent_memory, Bytes(211));
  EXPECT_THAT(check(problem.graph(), problem.cluster(), plan), IsEmpty());
}

TEST(Promises, no_flops_take_no_time_and_need_no_rate_but_a_type) {
  const std::string types = R"([{"name": "T", "peak_flops_per_s": {"fp32": 1e9}}])";
  const std::string zero = R"([{"name": "a", "flops": 0}])";
  const Problem problem = problem_of(zero, R"([{"name": "d", "type": "T"}])", "{}", types);
  EXPECT_EQ(problem.mode(TaskId(0), 0).duration, Duration(0));
  EXPECT_THAT(check(problem.graph(), problem.cluster(), plan_of(problem, {0})), IsEmpty());
  EXPECT_THAT(refusal(zero, R"([{"name": "d"}])"), HasSubstr("\"a\" can run on no device"));
  // More than none needs the rate of its dtype, bf16.
  EXPECT_THAT(refusal(R"([{"name": "a", "flops": 1e-300}])", R"([{"name": "d", "type": "T"}])", "{}", types),
              HasSubstr("\"a\" can run on no device"));
  const Problem bytes =
      problem_of(R"([{"name": "a", "flops": 0, "bytes_accessed": 0}])", R"([{"name": "d", "type": "T"}])", "{}", types);
  EXPECT_EQ(bytes.mode(TaskId(0), 0).duration, Duration(0));
}

// a takes no time at 0, b runs 10-15, c takes no time at 40: idle 0-10 and 15-40.
TEST(Promises, tasks_of_no_duration_begin_and_end_the_span_of_a_device) {
  const Problem problem = problem_of(
      R"([{"name": "a", "duration_ns": 0}, {"name": "b", "duration_ns": 5}, {"name": "c", "duration_ns": 0}])",
      R"([{"name": "d"}, {"name": "idle"}])");
  const Plan plan = plan_of(problem, {0, 10, 40});
  EXPECT_EQ(plan.statistics.makespan, Duration(40));
  EXPECT_EQ(plan.statistics.devices[0].span_idle, Duration(35));
  EXPECT_EQ(plan.statistics.devices[0].bubble, Duration(35));
  EXPECT_EQ(plan.statistics.devices[1].span_idle, Duration(0));
  EXPECT_THAT(check(problem.graph(), problem.cluster(), plan), IsEmpty());
}

TEST(Promises, streams_are_held_in_any_order_and_repeated_in_that_of_the_operator) {
  const Problem problem = problem_of(R"([{"name": "a", "duration_ns": 5, "streams": ["x", "compute"]}])",
                                     R"([{"name": "d", "streams": ["compute", "x"]}])");
  const Plan plan = plan_of(problem, {0});
  std::string text = plan_to_json(plan, problem.graph(), problem.cluster());
  const std::string stated = R"("streams": ["x", "compute"])";
  EXPECT_NO_THROW((void)parse_plan(text, "plan", problem.graph(), problem.cluster()));
  text.replace(text.find(stated), stated.size(), R"("streams": ["compute", "x"])");
  EXPECT_THROW((void)parse_plan(text, "plan", problem.graph(), problem.cluster()), InputError);
}

// 111 x (2^53 - 1) ns = 0.9998 x 10^18; 112 of them are 1.0088 x 10^18.
TEST(Promises, work_of_more_than_ten_to_the_18_nanoseconds_is_refused) {
  const std::string op = R"([{"name": "a", "duration_ns": 9007199254740991}])";
  EXPECT_EQ(refusal(op, R"([{"name": "d"}])", R"({"microbatches": 111})"), "accepted");
  EXPECT_THAT(refusal(op, R"([{"name": "d"}])", R"({"microbatches": 112})"), HasSubstr("expected at most 1e+18"));
}

TEST(Promises, iterations_of_more_than_ten_to_the_8_operator_instances_are_refused) {
  EXPECT_THAT(refusal(R"([{"name": "a", "duration_ns": 0}])", R"([{"name": "d"}])", R"({"microbatches": 100000001})"),
              HasSubstr("100000001 operator instances, expected at most 100000000"));
}

TEST(Promises, lists_of_devices_are_one_for_all_replicas_or_one_for_each) {
  const std::string devices = R"([{"name": "d"}, {"name": "e"}])";
  const std::string two = R"({"microbatches": 2, "replicas": 2})";
  const auto op = [](const std::string& lists) {
    return R"([{"name": "a", "duration_ns": 1, "devices": )" + lists + "}]";
  };
  for (const std::string one : {R"(["d"])", R"([["d"]])"}) {
    const Problem problem = problem_of(op(one), devices, two);
    EXPECT_EQ(problem.mode(TaskId(0), 0).devices[0], DeviceId(0));
    EXPECT_EQ(problem.mode(TaskId(1), 0).devices[0], DeviceId(0));
  }
  // The first list is for replica 0, which microbatch 0 belongs to.
  const Problem each = problem_of(op(R"([["e"], ["d"]])"), devices, two);
  EXPECT_EQ(each.mode(TaskId(0), 0).devices[0], DeviceId(1));
  EXPECT_EQ(each.mode(TaskId(1), 0).devices[0], DeviceId(0));
  EXPECT_THAT(refusal(op(R"([["e"], ["d"], ["d"]])"), devices, two), HasSubstr("3 replicas, but there are 2"));
  EXPECT_THAT(refusal(op(R"([["e"], ["d"]])"), devices), HasSubstr("2 replicas, but there are 1"));
}

TEST(Promises, settings_that_replace_what_the_files_say_are_listed) {
  const Problem problem =
      problem_of(R"([{"name": "a", "duration_ns": 1}])",
                 R"([{"name": "d", "memory_bytes": 70}, {"name": "e"}, {"name": "f", "memory_bytes": 50}])");
  const auto replaced = [&](ProblemSettings settings) {
    return replaced_settings(problem.graph(), problem.cluster(), settings);
  };
  EXPECT_THAT(replaced(problem.settings()), IsEmpty());
  ProblemSettings other = problem.settings();
  other.training.microbatches = 4;
  other.training.replicas = 2;
  other.training.gradient_bytes_per_weight_byte = 0.5;
  other.contention = Contention::kLink;
  other.memory_limit = Bytes(60);
  EXPECT_THAT(replaced(other),
              ::testing::ElementsAre("microbatches are 4 instead of 1", "replicas are 2 instead of 1",
                                     "gradient bytes per byte of weights are 0.5 instead of 0",
                                     "contention is link instead of none",
                                     "memory of every device is 60 bytes instead of 50 bytes to no limit"));
}

TEST(Promises, another_binding_of_microbatches_and_a_limit_that_changes_nothing_are_told_apart) {
  const Problem problem = problem_of(R"([{"name": "a", "duration_ns": 1}])",
                                     R"([{"name": "d", "memory_bytes": 70}, {"name": "e", "memory_bytes": 70}])",
                                     R"({"microbatches": 2, "replicas": 2})");
  ProblemSettings settings = problem.settings();
  settings.memory_limit = Bytes(70);
  settings.training.replica_of_microbatch = {0, 1};  // what follows without it
  EXPECT_THAT(replaced_settings(problem.graph(), problem.cluster(), settings), IsEmpty());
  settings.training.replica_of_microbatch = {1, 0};
  EXPECT_THAT(replaced_settings(problem.graph(), problem.cluster(), settings),
              ::testing::ElementsAre("microbatch 0 belongs to replica 1 instead of 0"));
}

}  // namespace
}  // namespace opweave
