// Messages that take turns. Issue 12, point 2; docs/messages.md.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "opweave/error.h"
#include "opweave/simulate.h"
#include "simulate/naive_turns.h"
#include "support/serial_plan.h"
#include "support/stage_pipeline.h"

namespace opweave {
namespace {

using testing::NaiveTurns;
using testing::Random;

SimulationOptions in_turns(const Problem& problem, const ExecutionOrder& order, const Schedule& schedule,
                           ChannelModel model) {
  SimulationOptions options;
  options.channels = model;
  options.turns = message_turns(problem, order, schedule);
  return options;
}

/// Device 0 makes a (10 ns) and b (10 ns more); both go elsewhere and are read there by tasks of 5 ns. A transfer
/// between any two devices takes 30 ns.
Problem two_senders(const std::string& home_of_b) {
  const auto op = [](const char* name, std::int64_t duration, std::vector<TensorId> inputs,
                     std::vector<TensorId> outputs, const std::string& device) {
    Operator result;
    result.name = name;
    result.modes = {{{device}, Duration(duration), Bytes()}};
    result.inputs = std::move(inputs);
    result.outputs = std::move(outputs);
    return result;
  };
  const TensorId a(0);
  const TensorId b(1);
  std::vector<Operator> operators = {op("make a", 10, {}, {a}, "d0"), op("make b", 10, {}, {b}, "d0"),
                                     op("read a", 5, {a}, {}, "d1"), op("read b", 5, {b}, {}, home_of_b)};
  std::vector<Tensor> tensors(2);
  tensors[0].name = "a";
  tensors[1].name = "b";
  ClusterParts cluster;
  for (const char* name : {"d0", "d1", "d2"}) {
    Device device;
    device.name = name;
    cluster.devices.push_back(device);
  }
  Link link;
  link.latency = Duration(30);
  cluster.default_link = link;
  return Problem::create(ComputationGraph::create("turns", operators, tensors, {}, {}), Cluster::create(cluster));
}

/// Tasks in the order of their ids on each device.
ExecutionOrder order_of_ids(const Problem& problem) {
  ExecutionOrder order;
  order.devices.resize(problem.cluster().device_count());
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const Mode mode = problem.mode(TaskId(t), ModeIndex(0));
    order.modes.emplace_back(0);
    order.devices[mode.devices.front().index()].push_back({{TaskId(t)}, {Duration()}, mode.duration, false});
  }
  return order;
}

Duration makespan(const Problem& problem, ChannelModel model) {
  const SimulationResult free = simulate(problem, order_of_ids(problem));
  const ExecutionOrder order = execution_order(problem, free.schedule);
  return simulate(problem, order, in_turns(problem, order, free.schedule, model)).makespan;
}

TEST(MessageTurns, a_message_waits_for_the_one_before_it_in_its_queue) {
  // Free: b is made at 20, there at 50, read until 55. In a queue with a, which is carried from 10 to 40: there at 70.
  const Problem same_peer = two_senders("d1");
  EXPECT_EQ(makespan(same_peer, {}), Duration(55));
  for (const ChannelModel model : kChannelModels) {
    EXPECT_EQ(makespan(same_peer, model), Duration(75)) << to_string(model);
  }
  // To another device only one queue for all messages of a device is in the way.
  const Problem other_peer = two_senders("d2");
  for (const ChannelModel model : kChannelModels) {
    EXPECT_EQ(makespan(other_peer, model), Duration(model.queue == ChannelQueue::kRank ? 75 : 55)) << to_string(model);
  }
}

TEST(MessageTurns, an_order_of_receives_that_differs_from_that_of_sends_is_named_as_what_keeps_tasks_waiting) {
  const Problem problem = two_senders("d1");
  const SimulationResult free = simulate(problem, order_of_ids(problem));
  const ExecutionOrder order = execution_order(problem, free.schedule);
  SimulationOptions options = in_turns(problem, order, free.schedule, kInOrder);
  // d1 is listed as: receive a, receive b, read a, read b.
  std::swap(options.turns[1][0], options.turns[1][1]);
  const SimulationResult result = simulate(problem, order, options);
  EXPECT_EQ(result.deadlocked, (std::vector<TaskId>{TaskId(2), TaskId(3)}));
  EXPECT_EQ(result.deadlock, "\"read a\" waits for \"a\" of \"make a\", whose message has not had its turn");
}

TEST(MessageTurns, turns_that_lack_an_end_or_name_it_twice_are_refused) {
  const Problem problem = two_senders("d1");
  const SimulationResult free = simulate(problem, order_of_ids(problem));
  const ExecutionOrder order = execution_order(problem, free.schedule);
  const SimulationOptions good = in_turns(problem, order, free.schedule, kInOrder);
  const auto error_of = [&](auto change) -> std::string {
    SimulationOptions options = good;
    change(options.turns);
    try {
      (void)simulate(problem, order, options);
    } catch (const InputError& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(error_of([](MessageTurns& turns) { turns.pop_back(); }), "turns of 2 devices, expected 3");
  EXPECT_EQ(error_of([](MessageTurns& turns) { turns[1].erase(turns[1].begin()); }),
            "turns name one end of a message, expected both");
  EXPECT_EQ(error_of([](MessageTurns& turns) { turns[1].push_back(turns[1].front()); }),
            "turns name one end of a message twice");
  EXPECT_EQ(error_of([](MessageTurns& turns) {
              std::erase_if(turns[0], [](const Turn& turn) { return turn.kind == Turn::Kind::kSend; });
              std::erase_if(turns[1], [](const Turn& turn) { return turn.kind == Turn::Kind::kReceive; });
            }),
            "turns lack a message of the order");
}

// Every random schedule runs in turns on every transport; a program that knows only the definition finds the same
// times; and where transfers take no time, turns cost nothing.
TEST(MessageTurns, random_schedules_end_on_every_transport_at_the_times_of_the_definition) {
  int plans = 0;
  int longer = 0;
  int instant = 0;
  for (std::uint64_t seed = 1; seed <= 600; ++seed) {
    Random random(seed);
    const auto problem = testing::varied_problem(random, 12);
    if (!problem) continue;
    const auto schedule = testing::serial_schedule(*problem, random);
    if (!schedule) continue;
    const ExecutionOrder order = execution_order(*problem, *schedule);
    const SimulationResult free = simulate(*problem, order);
    for (const ChannelModel model : kChannelModels) {
      const SimulationOptions options = in_turns(*problem, order, free.schedule, model);
      const SimulationResult result = simulate(*problem, order, options);
      ASSERT_TRUE(result.deadlocked.empty()) << "seed " << seed << " " << to_string(model) << ": " << result.deadlock;
      const std::vector<Duration> expected = NaiveTurns(*problem, order, options).starts();
      for (std::size_t t = 0; t < expected.size(); ++t) {
        ASSERT_EQ(result.schedule.tasks[t].start, expected[t])
            << "seed " << seed << " " << to_string(model) << " task " << t;
      }
      EXPECT_GE(result.makespan, free.makespan) << "seed " << seed;
      longer += result.makespan > free.makespan ? 1 : 0;
      const bool takes_no_time = std::ranges::all_of(
          free.schedule.transfers, [](const Transfer& transfer) { return transfer.start == transfer.end; });
      if (takes_no_time) {
        EXPECT_EQ(result.makespan, free.makespan) << "seed " << seed;
        ++instant;
      }
      ++plans;
    }
  }
  EXPECT_GT(plans, 1000);
  EXPECT_GT(longer, 50);
  EXPECT_GT(instant, 50);
}

// Tasks of one block run together, pairs of a forward and a backward among them.
TEST(MessageTurns, published_schedules_end_on_every_transport) {
  std::size_t count = 0;
  for (const Expert expert : kAllExperts) {
    const StageCosts costs{Duration(10), Duration(12), Duration(8), Duration(3)};
    const auto pipeline = generate(expert, 4, 8, costs);
    if (!pipeline) continue;
    const std::uint32_t replicas = pipeline->shape == PipelineShape::kTwoWay ? 2 : 1;
    const Problem problem = testing::stage_pipeline(pipeline->shape, 4, pipeline->stages, 8, costs, Bytes(1), replicas);
    const ExecutionOrder order = to_order(problem, *pipeline, PairMode::kAtomic);
    const SimulationResult free = simulate(problem, order);
    for (const ChannelModel model : kChannelModels) {
      const SimulationResult result = simulate(problem, order, in_turns(problem, order, free.schedule, model));
      EXPECT_TRUE(result.deadlocked.empty()) << pipeline->name << " " << to_string(model) << ": " << result.deadlock;
      EXPECT_GE(result.makespan, free.makespan) << pipeline->name;
      ++count;
    }
  }
  EXPECT_GE(count, 60U);
}

}  // namespace
}  // namespace opweave
