#include "opweave/simulate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "opweave/check.h"
#include "opweave/error.h"
#include "support/tiny_diamond.h"

namespace opweave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// A problem from lines such as {"a", "compute", 10, {}, {0}}: name, streams, duration, inputs, outputs.
struct Line {
  std::string name;
  std::vector<std::string> streams;
  std::int64_t duration;
  std::vector<std::size_t> inputs;
  std::vector<std::size_t> outputs;
};

ClusterParts devices(std::size_t count, std::int64_t latency = 3) {
  ClusterParts parts;
  for (std::size_t d = 0; d < count; ++d) {
    parts.devices.push_back({"d" + std::to_string(d), "", {}, {"compute", "comm", "copy"}});
  }
  parts.default_link = Link{"", "", "", Duration(latency), std::nullopt, true};
  return parts;
}

Operator to_operator(const Line& line) {
  Operator op;
  op.name = line.name;
  op.streams = line.streams;
  op.durations = {{"", Duration(line.duration)}};
  for (const std::size_t i : line.inputs) op.inputs.emplace_back(i);
  for (const std::size_t i : line.outputs) op.outputs.emplace_back(i);
  return op;
}

Problem make_problem(std::vector<Operator> operators, ClusterParts parts, std::size_t tensor_count = 0) {
  std::vector<Tensor> tensors;
  for (std::size_t t = 0; t < tensor_count; ++t) tensors.push_back({"x" + std::to_string(t), Bytes(1), {}, {}});
  return Problem::create(ComputationGraph::create("g", std::move(operators), std::move(tensors), {}),
                         Cluster::create(std::move(parts)));
}

Problem make_problem(const std::vector<Line>& lines, ClusterParts parts, std::size_t tensor_count = 0) {
  std::vector<Operator> operators;
  for (const Line& line : lines) operators.push_back(to_operator(line));
  return make_problem(std::move(operators), std::move(parts), tensor_count);
}

Block block(const Problem& problem, std::size_t task) {
  return {{TaskId(task)}, {Duration()}, problem.mode(TaskId(task), 0).duration, false};
}

/// Tasks of each device in order, a block each; a task runs in its mode on that device.
ExecutionOrder order_of(const Problem& problem, const std::vector<std::vector<std::size_t>>& lists) {
  ExecutionOrder order;
  order.modes.resize(problem.task_count());
  order.devices.resize(problem.cluster().device_count());
  for (std::size_t d = 0; d < lists.size(); ++d) {
    for (const std::size_t task : lists[d]) {
      order.modes[task] = problem.mode_on(TaskId(task), DeviceId(d)).value();
      order.devices[d].push_back(block(problem, task));
    }
  }
  return order;
}

std::vector<std::int64_t> starts(const SimulationResult& result) {
  std::vector<std::int64_t> values;
  for (const TaskAssignment& task : result.schedule.tasks) values.push_back(task.start.value());
  return values;
}

std::vector<std::int64_t> ends(const SimulationResult& result) {
  std::vector<std::int64_t> values;
  for (const Duration end : result.task_ends) values.push_back(end.value());
  return values;
}

/// "value from>to start-end" of each transfer, in the order of start and destination.
std::vector<std::string> transfers(const SimulationResult& result) {
  std::vector<Transfer> sorted = result.schedule.transfers;
  std::sort(sorted.begin(), sorted.end(), [](const Transfer& a, const Transfer& b) {
    return std::tie(a.start, a.end, a.value, a.destination) < std::tie(b.start, b.end, b.value, b.destination);
  });
  std::vector<std::string> values;
  for (const Transfer& t : sorted) {
    values.push_back("x" + std::to_string(t.value.index()) + " " + std::to_string(t.source.index()) + ">" +
                     std::to_string(t.destination.index()) + " " + std::to_string(t.start.value()) + "-" +
                     std::to_string(t.end.value()));
  }
  return values;
}

template <class Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

// top 0-10 and left 10-30 on d0; t crosses 10-13 (2 ns + 100 bytes), right 13-43 on d1; r back 43-46.
TEST(Simulate, runs_the_diamond_as_early_as_its_order_allows) {
  const Problem problem = Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster());
  const SimulationResult result = simulate(problem, order_of(problem, {{0, 1, 3}, {2}}));
  EXPECT_THAT(starts(result), ElementsAre(0, 10, 13, 46));
  EXPECT_THAT(transfers(result), ElementsAre("x0 0>1 10-13", "x2 1>0 43-46"));
  EXPECT_EQ(result.makespan, Duration(51));
  EXPECT_THAT(result.deadlocked, IsEmpty());
  EXPECT_EQ(result.deadlock, "");
}

TEST(Simulate, replays_a_schedule_and_finds_the_same_or_less) {
  const Problem problem = Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster());
  Schedule lazy;  // everything later than need be
  lazy.tasks = {{0, Duration(5)}, {0, Duration(20)}, {1, Duration(50)}, {0, Duration(100)}};
  const SimulationResult result = simulate(problem, execution_order(problem, lazy));
  EXPECT_THAT(starts(result), ElementsAre(0, 10, 13, 46));
}

// b needs comm only: it overtakes a2, which waits behind a for compute. c needs both and waits for both.
TEST(Simulate, a_block_overtakes_blocks_with_which_it_shares_no_stream) {
  const Problem problem = make_problem({{"a", {"compute"}, 10, {}, {}},
                                        {"a2", {"compute"}, 10, {}, {}},
                                        {"b", {"comm"}, 5, {}, {}},
                                        {"c", {"compute", "comm"}, 1, {}, {}},
                                        {"d", {"comm"}, 1, {}, {}}},
                                       devices(1));
  const SimulationResult result = simulate(problem, order_of(problem, {{0, 1, 2, 3, 4}}));
  EXPECT_THAT(starts(result), ElementsAre(0, 10, 0, 20, 21));
}

// Zero durations occupy nothing: z needs only that a has started; after it b needs the end of a.
TEST(Simulate, a_block_that_takes_no_time_waits_only_for_the_starts_before_it) {
  const Problem problem = make_problem(
      {{"a", {"compute"}, 10, {}, {}}, {"z", {"compute"}, 0, {}, {}}, {"b", {"compute"}, 1, {}, {}}}, devices(1));
  EXPECT_THAT(starts(simulate(problem, order_of(problem, {{0, 1, 2}}))), ElementsAre(0, 0, 10));
}

// A pair as published: a and b hold both streams from 0 to 12, though their parts would take 15 in
// sequence; c, which needs what a made, starts at the end of the block.
TEST(Simulate, a_block_holds_its_streams_and_delivers_at_its_end) {
  const Problem problem = make_problem({{"a", {"compute"}, 10, {}, {0}},
                                        {"b", {"comm"}, 5, {}, {}},
                                        {"c", {"copy"}, 1, {0}, {}},
                                        {"d", {"comm"}, 1, {}, {}}},
                                       devices(1), 1);
  ExecutionOrder order = order_of(problem, {{0, 1, 2, 3}});
  order.devices[0] = {Block{{TaskId(0), TaskId(1)}, {Duration(0), Duration(4)}, Duration(12), true}, block(problem, 2),
                      block(problem, 3)};
  SimulationResult result = simulate(problem, order);
  EXPECT_THAT(starts(result), ElementsAre(0, 4, 12, 12));
  EXPECT_THAT(ends(result), ElementsAre(12, 12, 13, 13));
  // The same block with the duration of its parts: the tasks end where they end, the outputs still wait.
  order.devices[0][0].fixed_duration = false;
  result = simulate(problem, order);
  EXPECT_THAT(starts(result), ElementsAre(0, 4, 12, 12));
  EXPECT_THAT(ends(result), ElementsAre(10, 9, 13, 13));
  EXPECT_EQ(result.makespan, Duration(13));
}

// first 0-8 on d1; the block of a and b needs x0 of it for b: it waits for 8 + 3 although a could start.
TEST(Simulate, a_block_waits_for_the_inputs_of_all_its_tasks) {
  const Problem problem =
      make_problem({{"first", {"compute"}, 8, {}, {0}}, {"a", {"compute"}, 2, {}, {}}, {"b", {"compute"}, 2, {0}, {}}},
                   devices(2), 1);
  ExecutionOrder order = order_of(problem, {{1, 2}, {0}});
  order.devices[0] = {Block{{TaskId(1), TaskId(2)}, {Duration(0), Duration(2)}, Duration(4), false}};
  EXPECT_THAT(starts(simulate(problem, order)), ElementsAre(0, 11, 13));
}

Operator gang(std::string name, std::int64_t duration, std::vector<std::size_t> inputs,
              std::vector<std::size_t> outputs) {
  Operator op = to_operator({std::move(name), {"compute"}, 0, std::move(inputs), std::move(outputs)});
  op.durations.clear();
  op.modes = {{{"d0", "d1"}, Duration(duration), Bytes()}};
  return op;
}

// The gang waits for x0 on d1 too (made on d0 at 5, there at 8) and for both compute streams: 8-12. Its
// x1 is then on d0 and d1; d2 gets it from d1, which has the shorter way.
TEST(Simulate, a_gang_runs_on_all_its_devices_at_once) {
  ClusterParts parts = devices(3);
  parts.links = {{"slow", "d0", "d2", Duration(9), std::nullopt, true},
                 {"fast", "d1", "d2", Duration(2), std::nullopt, true},
                 {"near", "d0", "d1", Duration(3), std::nullopt, true}};
  const Problem problem = make_problem(
      std::vector<Operator>{to_operator({"a", {"compute"}, 5, {}, {0}}), gang("g", 4, {0}, {1}),
                            to_operator({"b", {"compute"}, 1, {1}, {}}), to_operator({"c", {"compute"}, 1, {1}, {}})},
      parts, 2);
  ExecutionOrder order = order_of(problem, {{0}, {}, {}});
  order.modes = {0, 0, 1, 2};
  order.devices = {{block(problem, 0), block(problem, 1)}, {block(problem, 1), block(problem, 2)}, {block(problem, 3)}};
  const SimulationResult result = simulate(problem, order);
  EXPECT_THAT(starts(result), ElementsAre(0, 8, 12, 14));
  EXPECT_THAT(transfers(result), ElementsAre("x0 0>1 5-8", "x1 1>2 12-14"));
}

// Transfers that take no time are there, and chains of instants happen in one moment.
TEST(Simulate, instants_follow_each_other_without_time_passing) {
  const Problem problem =
      make_problem({{"a", {"compute"}, 0, {}, {0}}, {"b", {"compute"}, 0, {0}, {1}}, {"c", {"compute"}, 2, {1}, {}}},
                   devices(2, 0), 2);
  const SimulationResult result = simulate(problem, order_of(problem, {{0, 2}, {1}}));
  EXPECT_THAT(starts(result), ElementsAre(0, 0, 0));
  EXPECT_THAT(transfers(result), ElementsAre("x0 0>1 0-0", "x1 1>0 0-0"));
}

class SimulateContention : public ::testing::Test {
 protected:
  /// a (0-1) on d0 makes x0 for d1 and d2, b (0-2) on d3 makes x1 for d1; transfers take 10.
  const Problem problem = make_problem({{"a", {"compute"}, 1, {}, {0}},
                                        {"b", {"compute"}, 2, {}, {1}},
                                        {"a to d2", {"compute"}, 1, {0}, {}},
                                        {"both", {"compute"}, 1, {0, 1}, {}}},
                                       devices(4, 10), 2);
  const ExecutionOrder order = order_of(problem, {{0}, {3}, {2}, {1}});
  std::vector<std::string> with(Contention contention) const {
    return transfers(simulate(problem, order, {contention, 1, {}}));
  }
};

TEST_F(SimulateContention, none_lets_everything_pass) {
  EXPECT_THAT(with(Contention::kNone), ElementsAre("x0 0>1 1-11", "x0 0>2 1-11", "x1 3>1 2-12"));
}

// d0 sends to d1 first (destination 1 before 2), then to d2; d1 receives from d3 only after that from d0.
TEST_F(SimulateContention, endpoints_serve_first_come_first) {
  EXPECT_THAT(with(Contention::kEndpoint), ElementsAre("x0 0>1 1-11", "x0 0>2 11-21", "x1 3>1 11-21"));
}

TEST_F(SimulateContention, pairs_on_the_default_link_do_not_disturb_each_other) {
  EXPECT_THAT(with(Contention::kLink), ElementsAre("x0 0>1 1-11", "x0 0>2 1-11", "x1 3>1 2-12"));
}

// All ways lead through the hub. Full duplex: up0 carries x0 twice in turn; down to d1 waits for x0. Half
// duplex changes nothing here, since no link is used both ways.
TEST_F(SimulateContention, a_transfer_holds_every_link_of_its_route) {
  ClusterParts parts = devices(4);
  parts.switches = {"hub"};
  for (const char* name : {"d0", "d1", "d2", "d3"}) {
    parts.links.push_back({std::string("up ") + name, name, "hub", Duration(5), std::nullopt, true});
  }
  const Problem star = Problem::create(problem.graph(), Cluster::create(parts));
  EXPECT_THAT(transfers(simulate(star, order, {Contention::kLink, 1, {}})),
              ElementsAre("x0 0>1 1-11", "x0 0>2 11-21", "x1 3>1 11-21"));
}

// One link between d0 and d1: x0 there 1-11; x1 back, ready at 2, at once or after it.
TEST_F(SimulateContention, a_half_duplex_link_carries_one_direction_at_a_time) {
  for (const bool full_duplex : {true, false}) {
    ClusterParts parts = devices(2);
    parts.links = {{"only", "d0", "d1", Duration(10), std::nullopt, full_duplex}};
    const Problem two = make_problem({{"a", {"compute"}, 1, {}, {0}},
                                      {"b", {"compute"}, 2, {}, {1}},
                                      {"use a", {"compute"}, 1, {0}, {}},
                                      {"use b", {"compute"}, 1, {1}, {}}},
                                     parts, 2);
    const auto result = simulate(two, order_of(two, {{0, 3}, {1, 2}}), {Contention::kLink, 1, {}});
    EXPECT_THAT(transfers(result), ElementsAre("x0 0>1 1-11", full_duplex ? "x1 1>0 2-12" : "x1 1>0 11-21"));
  }
}

// A transfer keeps its place: x1 (ready at 2, from d3 to d1) waits for d1 to receive x0 until 11; x2, ready
// at 3, from d3 to d2, is behind it at d3's end, although d2 is idle.
TEST_F(SimulateContention, a_waiting_transfer_keeps_its_place_in_every_queue) {
  const Problem three = make_problem({{"a", {"compute"}, 1, {}, {0}},
                                      {"b", {"compute"}, 2, {}, {1}},
                                      {"c", {"compute"}, 1, {}, {2}},
                                      {"use a b", {"compute"}, 1, {0, 1}, {}},
                                      {"use c", {"compute"}, 1, {2}, {}}},
                                     devices(4, 10), 3);
  const auto result = simulate(three, order_of(three, {{0}, {3}, {4}, {1, 2}}), {Contention::kEndpoint, 1, {}});
  EXPECT_THAT(transfers(result), ElementsAre("x0 0>1 1-11", "x1 3>1 11-21", "x2 3>2 21-31"));
}

// d1 makes x0 at 2; a transfer of no time brings it to c, so that comm is busy 2-6. Compute of 10: 2 at
// full speed, 4 ns at half speed (2), 6 at full speed: 12.
TEST(SimulateSlowdown, compute_advances_slower_while_another_stream_is_busy) {
  const Problem problem = make_problem(
      {{"a", {"compute"}, 10, {}, {}}, {"d1", {"compute"}, 2, {}, {0}}, {"c", {"comm"}, 4, {0}, {}}}, devices(2, 0), 1);
  const SimulationResult result = simulate(problem, order_of(problem, {{0, 2}, {1}}), {Contention::kNone, 2.0, {}});
  EXPECT_THAT(ends(result), ElementsAre(12, 2, 6));
}

// 7 ns of work at 1 / 1.5 of the speed throughout take 10.5 ns: the task ends at 11, the next starts there.
TEST(SimulateSlowdown, a_task_ends_at_the_first_whole_nanosecond_at_which_its_work_is_done) {
  const Problem problem = make_problem(
      {{"a", {"compute"}, 7, {}, {}}, {"b", {"compute"}, 3, {}, {}}, {"c", {"comm"}, 100, {}, {}}}, devices(1));
  const SimulationResult result = simulate(problem, order_of(problem, {{0, 1, 2}}), {Contention::kNone, 1.5, {}});
  EXPECT_THAT(starts(result), ElementsAre(0, 11, 0));
  EXPECT_THAT(ends(result), ElementsAre(11, 16, 100));  // 3 x 1.5 = 4.5
}

// A collective that holds compute and comm does not hamper itself; the copy beside it does for 4 ns, in
// which half as much is done: 4 + 8.
TEST(SimulateSlowdown, nothing_hampers_itself_and_other_streams_keep_their_pace) {
  const Problem problem =
      make_problem({{"both", {"compute", "comm"}, 10, {}, {}}, {"copy", {"copy"}, 4, {}, {}}}, devices(1));
  const SimulationResult result = simulate(problem, order_of(problem, {{0, 1}}), {Contention::kNone, 2.0, {}});
  EXPECT_THAT(ends(result), ElementsAre(12, 4));
}

// Within a block: comm of a 0-4, then compute of b 5, all in sequence, so that nothing hampers anything;
// another device is none of its business. A pair of stated duration keeps it.
TEST(SimulateSlowdown, blocks_are_slowed_by_what_runs_at_the_same_time_and_not_by_what_they_hold) {
  const Problem problem = make_problem({{"a", {"comm"}, 4, {}, {0}},
                                        {"b", {"compute"}, 5, {0}, {}},
                                        {"elsewhere", {"comm"}, 50, {}, {}},
                                        {"copy", {"copy"}, 2, {}, {}}},
                                       devices(2), 1);
  ExecutionOrder order = order_of(problem, {{0, 1, 3}, {2}});
  order.devices[0] = {Block{{TaskId(0), TaskId(1)}, {Duration(0), Duration(4)}, Duration(9), false}};
  order.devices[0].push_back(block(problem, 3));
  EXPECT_THAT(ends(simulate(problem, order, {Contention::kNone, 3.0, {}})), ElementsAre(4, 9, 50, 2));
  order.devices[0][0].fixed_duration = true;
  order.devices[0][0].duration = Duration(6);
  EXPECT_THAT(ends(simulate(problem, order, {Contention::kNone, 3.0, {}})), ElementsAre(6, 6, 50, 2));
}

TEST(SimulateDurations, other_durations_move_everything_behind_them) {
  const Problem problem = Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster());
  SimulationOptions options;
  options.durations = {Duration(1), Duration(100), Duration(30), Duration(0)};
  const SimulationResult result = simulate(problem, order_of(problem, {{0, 1, 3}, {2}}), options);
  EXPECT_THAT(starts(result), ElementsAre(0, 1, 4, 101));
  EXPECT_THAT(ends(result), ElementsAre(1, 101, 34, 101));
}

// The block's idle gap and stated length go: a 0-7, b, which needs it, 7-9, c on comm at once.
TEST(SimulateDurations, a_block_is_packed_anew_in_the_order_of_its_offsets) {
  const Problem problem = make_problem({{"a", {"compute"}, 1, {}, {0}},
                                        {"b", {"compute"}, 1, {0}, {}},
                                        {"c", {"comm"}, 1, {}, {}},
                                        {"d", {"comm"}, 1, {}, {}}},
                                       devices(1), 1);
  ExecutionOrder order = order_of(problem, {{0, 1, 2, 3}});
  order.devices[0] = {
      Block{{TaskId(0), TaskId(1), TaskId(2)}, {Duration(0), Duration(5), Duration(3)}, Duration(30), false},
      block(problem, 3)};
  EXPECT_THAT(starts(simulate(problem, order)), ElementsAre(0, 5, 3, 30));
  SimulationOptions options;
  options.durations = {Duration(7), Duration(2), Duration(4), Duration(1)};
  EXPECT_THAT(starts(simulate(problem, order, options)), ElementsAre(0, 7, 0, 9));
  options.compute_slowdown = 1.5;  // c hampers a 0-4: 4 / 1.5 done, 13/3 left: a ends at 8.33, so 9; b 9-11
  EXPECT_THAT(ends(simulate(problem, order, options)), ElementsAre(9, 11, 4, 12));
}

// d0 runs b before a, d1 runs d before c, but b needs c and d needs a.
TEST(SimulateDeadlock, names_who_waits_for_whom) {
  const Problem problem = make_problem({{"a", {"compute"}, 1, {}, {0}},
                                        {"c", {"compute"}, 1, {}, {1}},
                                        {"b", {"compute"}, 1, {1}, {}},
                                        {"d", {"compute"}, 1, {0}, {}},
                                        {"free", {"comm"}, 1, {}, {}}},
                                       devices(2), 2);
  const SimulationResult result = simulate(problem, order_of(problem, {{2, 0, 4}, {3, 1}}));
  EXPECT_THAT(result.deadlocked, ElementsAre(TaskId(0), TaskId(1), TaskId(2), TaskId(3)));
  EXPECT_THAT(result.deadlock, HasSubstr("\"b\" waits for \"x1\" of \"c\""));
  EXPECT_THAT(result.deadlock, HasSubstr("\"c\" comes after \"d\" on stream \"compute\" of \"d1\""));
  EXPECT_THAT(result.deadlock, HasSubstr("\"d\" waits for \"x0\" of \"a\""));
  EXPECT_THAT(result.deadlock, HasSubstr("\"a\" comes after \"b\" on stream \"compute\" of \"d0\""));
}

TEST(SimulateDeadlock, a_missing_route_is_told) {
  ClusterParts parts = devices(2);
  parts.default_link.reset();
  const Problem problem = make_problem({{"a", {"compute"}, 1, {}, {0}}, {"b", {"compute"}, 1, {0}, {}}}, parts, 1);
  const SimulationResult result = simulate(problem, order_of(problem, {{0}, {1}}));
  EXPECT_THAT(result.deadlocked, ElementsAre(TaskId(1)));
  EXPECT_EQ(result.deadlock, "\"b\" waits for \"x0\" of \"a\", but no route joins \"d0\" to \"d1\"");
  EXPECT_EQ(result.makespan, Duration(1));
}

TEST(SimulateErrors, an_order_that_is_none_is_an_input_error) {
  const Problem problem = Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster());
  const ExecutionOrder good = order_of(problem, {{0, 1, 3}, {2}});
  const auto message = [&](auto spoil, const SimulationOptions& options = {}) {
    ExecutionOrder order = good;
    spoil(order);
    return error_of([&] { (void)simulate(problem, order, options); });
  };
  EXPECT_EQ(message([](ExecutionOrder&) {}), "no error");
  EXPECT_EQ(message([](ExecutionOrder& o) { o.devices[0].pop_back(); }),
            "execution order: task \"bottom\" is listed on 0 of its 1 devices");
  EXPECT_EQ(message([](ExecutionOrder& o) { o.devices[0].push_back(o.devices[0][0]); }),
            "execution order: device \"d0\" lists task \"top\" twice");
  EXPECT_EQ(message([](ExecutionOrder& o) { o.devices[1].push_back(o.devices[0][0]); }),
            "execution order: device \"d1\" lists task \"top\", whose mode does not run there");
  EXPECT_EQ(message([](ExecutionOrder& o) { o.modes[0] = 7; }),
            "execution order: task \"top\" has mode 7, but there are 2");
  EXPECT_EQ(message([](ExecutionOrder& o) { o.devices.pop_back(); }),
            "execution order: 1 lists of blocks for 2 devices");
  EXPECT_EQ(message([](ExecutionOrder& o) { o.devices[0][0].offsets.clear(); }),
            "execution order: the block of task \"top\" on device \"d0\" has 0 offsets for 1 tasks");
  EXPECT_EQ(
      message([](ExecutionOrder& o) { o.devices[0][0].duration = Duration(9); }),
      "execution order: the block of task \"top\" on device \"d0\" lasts 9 ns, but its task \"top\" ends at 10 ns");
  EXPECT_EQ(message([](ExecutionOrder& o) { o.devices[0][0].tasks[0] = TaskId(99); }),
            "execution order: device \"d0\" lists task 99, but there are 4");
  EXPECT_EQ(message([](ExecutionOrder& o) {
              o.devices[0] = {Block{{TaskId(0), TaskId(1)}, {Duration(20), Duration(0)}, Duration(40), false},
                              o.devices[0][2]};
            }),
            "execution order: a block starts task \"left\" before task \"top\", which it needs");
  EXPECT_EQ(message([](ExecutionOrder&) {}, {Contention::kNone, 0.5, {}}),
            "compute slowdown is 0.5, expected 1 to 1000");
  EXPECT_EQ(message([](ExecutionOrder&) {}, {Contention::kNone, 1, {Duration(1)}}),
            "execution order: 1 durations for 4 tasks");
  EXPECT_EQ(
      message([](ExecutionOrder&) {}, {Contention::kNone, 1, {Duration(1), Duration(1), Duration(-1), Duration(1)}}),
      "execution order: task \"right\" has a duration of -1 ns, expected 0 to 9007199254740991");
}

}  // namespace
}  // namespace opweave
