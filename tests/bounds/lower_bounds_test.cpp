// Each bound on a problem that can be followed by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "opweave/bounds.h"
#include "support/pipelines.h"
#include "support/tiny_diamond.h"

namespace opweave {
namespace {

using ::testing::HasSubstr;

/// Value of a bound in ns; -1 if it was not given.
std::int64_t value_of(const Problem& problem, const std::string& name) {
  const auto bounds = lower_bounds(problem);
  const auto found = std::find_if(bounds.begin(), bounds.end(), [&](const LowerBound& b) { return b.name == name; });
  return found == bounds.end() ? -1 : found->value.value();
}

Operator make(std::string name, std::int64_t ns, std::vector<std::string> devices, std::vector<TensorId> inputs = {},
              std::vector<TensorId> outputs = {}) {
  Operator op;
  op.name = std::move(name);
  op.durations = {{"", Duration(ns)}};
  if (!devices.empty()) op.devices = {std::move(devices)};
  op.inputs = std::move(inputs);
  op.outputs = std::move(outputs);
  return op;
}

Problem problem_of(std::vector<Operator> operators, std::vector<Tensor> tensors, std::uint32_t devices,
                   std::int64_t latency, std::optional<Bytes> memory = std::nullopt, Training training = {}) {
  return Problem::create(
      ComputationGraph::create("g", std::move(operators), std::move(tensors), {}, std::move(training)),
      uniform_cluster(devices, {"compute"}, memory, Duration(latency)));
}

TEST(CriticalPathBound, leaves_out_transfers_that_placement_can_avoid) {
  // top 10, right 30, bottom 5 on one device.
  EXPECT_EQ(value_of(Problem::create(testing::tiny_diamond_graph(), testing::tiny_cluster()), "critical-path"), 45);
}

TEST(CriticalPathBound, counts_the_cheapest_transfer_between_groups_that_cannot_meet) {
  // a on gpu0, b on gpu1 or gpu2: a transfer of 7 ns cannot be avoided. 3 + 7 + 4.
  EXPECT_EQ(
      value_of(problem_of({make("a", 3, {"gpu0"}, {}, {TensorId(0)}), make("b", 4, {"gpu1", "gpu2"}, {TensorId(0)})},
                          {{"t", Bytes(0), {}, {}}}, 3, 7),
               "critical-path"),
      14);
  // Kept apart on the same two devices: the same.
  std::vector<Operator> apart = {make("a", 3, {}, {}, {TensorId(0)}), make("b", 4, {}, {TensorId(0)})};
  for (Operator& op : apart) op.anti_colocation = {"apart"};
  EXPECT_EQ(value_of(problem_of(apart, {{"t", Bytes(0), {}, {}}}, 2, 7), "critical-path"), 14);
}

TEST(CriticalPathBound, copies_of_a_fixed_operator_run_one_after_the_other) {
  // Three microbatches of a (2 ns, gpu0) then b (5 ns, gpu1): 2 + 3 x 5.
  const Problem problem = problem_of({make("a", 2, {"gpu0"}, {}, {TensorId(0)}), make("b", 5, {"gpu1"}, {TensorId(0)})},
                                     {{"t", Bytes(0), {}, {}}}, 2, 0, std::nullopt, {.microbatches = 3});
  EXPECT_EQ(value_of(problem, "critical-path"), 17);
  // Placed per microbatch, nothing orders them: 2 + 5.
  const Problem free = problem_of({make("a", 2, {}, {}, {TensorId(0)}), make("b", 5, {}, {TensorId(0)})},
                                  {{"t", Bytes(0), {}, {}}}, 2, 0, std::nullopt, {.microbatches = 3});
  EXPECT_EQ(value_of(free, "critical-path"), 7);
}

TEST(LoadBound, divides_the_work_by_the_devices_and_rounds_up) {
  // 4 + 4 + 5 = 13 ns on two devices.
  const Problem problem = problem_of({make("a", 4, {}), make("b", 4, {}), make("c", 5, {})}, {}, 2, 0);
  EXPECT_EQ(value_of(problem, "load"), 7);
}

TEST(LoadBound, counts_a_gang_on_all_its_devices) {
  Operator gang = make("g", 0, {});
  gang.durations.clear();
  gang.modes = {{{"gpu0", "gpu1"}, Duration(6), Bytes()}};
  // 2 x 6 + 3 on two devices: 7.5.
  EXPECT_EQ(value_of(problem_of({gang, make("a", 3, {})}, {}, 2, 0), "load"), 8);
}

TEST(ParallelMachineBound, adds_the_least_heads_and_tails) {
  // Three chains of head 2 (gpu0), middle 9 on gpu1 or gpu2, tail 1 (gpu0). The middles start at 2, 4
  // and 6 at the earliest: (2 + 4 + 27 + 1 + 2) / 2 = 18, as the tails too run one after the other.
  std::vector<Operator> operators;
  std::vector<Tensor> tensors;
  for (std::size_t i = 0; i < 2; ++i) tensors.push_back({"t" + std::to_string(i), Bytes(0), {}, {}});
  operators = {make("head", 2, {"gpu0"}, {}, {TensorId(0)}),
               make("middle", 9, {"gpu1", "gpu2"}, {TensorId(0)}, {TensorId(1)}),
               make("tail", 1, {"gpu0"}, {TensorId(1)})};
  // A colocation group would bind all middles to one device; microbatches are placed one by one, so
  // heads are not ordered and only the least head and tail count twice: (2 + 2 + 27 + 1 + 1) / 2.
  const Problem problem = problem_of(operators, tensors, 3, 0, std::nullopt, {.microbatches = 3});
  EXPECT_EQ(value_of(problem, "parallel-machine"), 17);
}

TEST(SubsetLoadBound, weights_unequal_devices) {
  // Four operators of 2 ns on the fast device and 4 ns on the slow one: 3 and 1 is best, 6 ns; the
  // linear program divides 8 / 3 and 4 / 3: 5.33.
  std::vector<Operator> operators;
  for (int i = 0; i < 4; ++i) {
    operators.push_back(make("o" + std::to_string(i), 4, {}));
    operators.back().durations.push_back({"fast", Duration(2)});
  }
  ClusterParts parts;
  parts.types = {{"fast", {}, {}}};
  parts.devices = {{"gpu0", "fast", {}, {"compute"}}, {"gpu1", "", {}, {"compute"}}};
  const Problem problem =
      Problem::create(ComputationGraph::create("g", operators, {}, {}), Cluster::create(std::move(parts)));
  EXPECT_EQ(value_of(problem, "load"), 4);
  EXPECT_EQ(value_of(problem, "subset-load"), 6);
}

TEST(OneMachineBound, sees_heads_and_tails_of_a_stream) {
  // Three jobs on gpu0 between operators elsewhere: heads 4, tails 6, work 3 x 5. The other devices'
  // operators overlap freely. 4 + 15 + 6.
  std::vector<Operator> operators;
  std::vector<Tensor> tensors;
  for (std::size_t i = 0; i < 3; ++i) {
    const std::string n = std::to_string(i);
    tensors.push_back({"x" + n, Bytes(0), {}, {}});
    tensors.push_back({"y" + n, Bytes(0), {}, {}});
    operators.push_back(make("head" + n, 4, {"gpu" + std::to_string(i + 1)}, {}, {TensorId(2 * i)}));
    operators.push_back(make("job" + n, 5, {"gpu0"}, {TensorId(2 * i)}, {TensorId(2 * i + 1)}));
    operators.push_back(make("tail" + n, 6, {"gpu" + std::to_string(i + 1)}, {TensorId(2 * i + 1)}));
  }
  EXPECT_EQ(value_of(problem_of(operators, tensors, 4, 0), "one-machine"), 25);
}

TEST(TransferLoadBound, queues_transfers_where_a_channel_carries_one_at_a_time) {
  // a (1 ns, gpu0) makes three tensors of 10 bytes for gpu1 at one byte per ns, then b (2 ns) runs:
  // 1 + 30 + 2 with contention, 1 + 10 + 2 without.
  std::vector<Tensor> tensors;
  std::vector<TensorId> all;
  for (std::size_t i = 0; i < 3; ++i) {
    tensors.push_back({"t" + std::to_string(i), Bytes(10), {}, {}});
    all.emplace_back(i);
  }
  const auto graph =
      ComputationGraph::create("g", {make("a", 1, {"gpu0"}, {}, all), make("b", 2, {"gpu1"}, all)}, tensors, {});
  ClusterParts parts = uniform_cluster(2, {"compute"}, std::nullopt, Duration(0), 1'000'000'000).parts();
  for (const Contention contention : {Contention::kNone, Contention::kEndpoint, Contention::kLink}) {
    parts.contention = contention;
    const Problem problem = Problem::create(graph, Cluster::create(parts));
    EXPECT_EQ(value_of(problem, "transfer-load"), contention == Contention::kNone ? -1 : 33);
    EXPECT_EQ(value_of(problem, "critical-path"), 13);
  }
}

TEST(MemoryPathBound, a_forward_waits_for_the_backward_that_frees_its_memory) {
  // F (2 ns, gpu0) keeps an activation until B (3 ns, gpu0) has ended; between them M (5 ns, gpu1).
  // One activation fits: the three microbatches follow each other, 3 x (2 + 5 + 3).
  std::vector<Operator> operators = {make("F", 2, {"gpu0"}, {}, {TensorId(0), TensorId(1)}),
                                     make("M", 5, {"gpu1"}, {TensorId(1)}, {TensorId(2)}),
                                     make("B", 3, {"gpu0"}, {TensorId(0), TensorId(2)})};
  std::vector<Tensor> tensors = {{"kept", Bytes(8), {}, {}}, {"x", Bytes(0), {}, {}}, {"y", Bytes(0), {}, {}}};
  const Problem one = problem_of(operators, tensors, 2, 0, Bytes(8), {.microbatches = 3});
  EXPECT_EQ(value_of(one, "memory-path"), 30);
  // Two fit: the third F starts when the first B has ended: 10 + 10.
  const Problem two = problem_of(operators, tensors, 2, 0, Bytes(16), {.microbatches = 3});
  EXPECT_EQ(value_of(two, "memory-path"), 20);
  EXPECT_EQ(value_of(problem_of(operators, tensors, 2, 0, Bytes(24), {.microbatches = 3}), "memory-path"), -1);
}

TEST(MemoryRampBound, counts_what_cannot_be_done_before_the_first_release) {
  // Two devices, 4 microbatches of F = I = W = 1, two activations per device. On device 0 the first
  // backward cannot arrive before 1 + 1 + 1 = 3 and only two forwards fit before: 1 ns idle; work is
  // 4 x 3 = 12. Together 13, the optimum.
  const Problem problem =
      testing::stage_pipeline({PipelineShape::kLinear, 2, 4, 1, 1, 1, 0, std::vector<double>{2, 2}});
  EXPECT_EQ(value_of(problem, "memory-ramp"), 13 * testing::kUnit);
}

TEST(MemoryEnergyBound, what_is_kept_fills_the_memory_for_as_long_as_its_microbatch_takes) {
  // Two devices of a linear pipeline, 4 microbatches of F = I = W = 1. On device 0 an activation is kept for F0 F1 I1
  // I0 W0 = 5 at least. With pool for two of them: 4 x 5 / 2 = 10; the second comes no earlier than 1 and the last but
  // one goes no later than 1 before the end: 1 / 2 more at each end. With pool for one: 20, nothing empty at the ends.
  const auto bound = [](double activations) {
    return value_of(testing::stage_pipeline(
                        {PipelineShape::kLinear, 2, 4, 1, 1, 1, 0, std::vector<double>{activations, activations}}),
                    "memory-energy");
  };
  EXPECT_EQ(bound(2), 11 * testing::kUnit);
  EXPECT_EQ(bound(1), 20 * testing::kUnit);
}

/// Layers of F, I and W that may run anywhere, 8 microbatches.
Problem free_layers(const std::vector<std::array<std::int64_t, 3>>& layers, std::uint32_t devices) {
  PipelineSpec spec;
  spec.name = "free";
  spec.shape = PipelineShape::kFree;
  spec.training.microbatches = 8;
  for (const auto& [forward, input, weight] : layers) {
    Layer layer;
    layer.name = "layer" + std::to_string(spec.layers.size());
    layer.operators = {{"op", "", {"compute"}, Duration(forward), Duration(input), Duration(weight)}};
    spec.layers.push_back(layer);
  }
  return Problem::create(build_pipeline(spec), uniform_cluster(devices, {"compute"}, std::nullopt, Duration(0)));
}

TEST(GroupRampBound, charges_each_device_to_a_group_of_its_own) {
  // Four layers of F = I = W = 1 us on any of four devices, a parameter each, 8 microbatches: 24 us of
  // work per layer. Some device starts at 0, the others with other layers: 1, 2 and 3 us idle. Two layers on a device
  // are 48 us, so each device has one, the one that starts last too. Nothing is idle at the end: every layer's W can be
  // the last.
  const Problem problem = free_layers(std::vector<std::array<std::int64_t, 3>>(4, {1000, 1000, 1000}), 4);
  EXPECT_EQ(value_of(problem, "group-ramp"), 27'000);
}

TEST(GroupRampBound, a_device_has_whole_groups) {
  // Three groups of two tasks of 5 ns on two devices: 15 ns per device on average, but loads are multiples of 10.
  std::vector<Operator> operators;
  std::vector<Parameter> parameters;
  for (std::size_t group = 0; group < 3; ++group) {
    parameters.push_back({"w" + std::to_string(group), Bytes(0)});
    for (const char* name : {"a", "b"}) {
      operators.push_back(make(name + std::to_string(group), 5, {}));
      operators.back().parameters = {ParameterId(group)};
    }
  }
  const Problem problem =
      Problem::create(ComputationGraph::create("g", std::move(operators), {}, std::move(parameters), {}),
                      uniform_cluster(2, {"compute"}, std::nullopt, Duration(0)));
  EXPECT_EQ(value_of(problem, "load"), 15);
  EXPECT_EQ(value_of(problem, "group-ramp"), 20);
}

TEST(GroupRampBound, who_begins_is_who_has_the_first_group) {
  // F = 3, I = 1, W = 1 us in the first layer and 1, 2, 1 us in the other two, 8 microbatches: 40, 32 and 32 us of work
  // on two devices. A device without the first layer begins at 3 us: the two others on one device end at 67 us or
  // later. Anything else takes 72 us.
  const Problem problem = free_layers({{3000, 1000, 1000}, {1000, 2000, 1000}, {1000, 2000, 1000}}, 2);
  EXPECT_EQ(value_of(problem, "group-ramp"), 67'000);
}

TEST(GroupRampBound, parameters_that_fill_the_memory_added_for_them_change_nothing) {
  // Four equal layers on four devices with pool for one activation: a device with its share of the work has a layer.
  const auto bound = [](std::int64_t weights, std::optional<Bytes> memory) {
    PipelineSpec spec;
    spec.shape = PipelineShape::kFree;
    spec.training.microbatches = 8;
    for (int i = 0; i < 4; ++i) {
      Layer layer;
      layer.name = "layer" + std::to_string(i);
      layer.operators = {{"op", "", {"compute"}, Duration(1000), Duration(1000), Duration(1000)}};
      layer.activation = Bytes(10);
      layer.weights = Bytes(weights);
      spec.layers.push_back(layer);
    }
    return value_of(Problem::create(build_pipeline(spec), uniform_cluster(4, {"compute"}, memory, Duration(0))),
                    "group-ramp");
  };
  EXPECT_GT(bound(0, Bytes(10)), bound(0, std::nullopt));
  EXPECT_EQ(bound(100, Bytes(110)), bound(0, Bytes(10)));
  EXPECT_EQ(bound(100, Bytes(1000)), bound(0, std::nullopt));
}

TEST(LowerBounds, are_sorted_and_name_where_they_bind) {
  const auto bounds =
      lower_bounds(testing::stage_pipeline({PipelineShape::kLinear, 2, 4, 1, 1, 1, 0, std::vector<double>{2, 2}}));
  ASSERT_GE(bounds.size(), 4U);
  EXPECT_TRUE(std::is_sorted(bounds.begin(), bounds.end(),
                             [](const LowerBound& a, const LowerBound& b) { return a.value > b.value; }));
  EXPECT_EQ(bounds.front().value.value(), 13 * testing::kUnit);
  const auto one_machine =
      std::find_if(bounds.begin(), bounds.end(), [](const LowerBound& b) { return b.name == "one-machine"; });
  ASSERT_NE(one_machine, bounds.end());
  EXPECT_THAT(one_machine->detail, HasSubstr("device \"gpu"));
}

TEST(LowerBounds, zero_durations_and_an_empty_graph_are_legal) {
  const Problem nothing = problem_of({}, {}, 1, 0, Bytes(0));
  ASSERT_EQ(lower_bounds(nothing).size(), 1U);
  EXPECT_EQ(lower_bounds(nothing).front().value, Duration());
  const Problem instant = problem_of({make("a", 0, {}, {}, {TensorId(0)}), make("b", 0, {}, {TensorId(0)})},
                                     {{"t", Bytes(9), {}, {}}}, 2, 5, Bytes(0));
  EXPECT_EQ(lower_bounds(instant).front().value, Duration());
  EXPECT_TRUE(infeasibility_proofs(instant).empty());  // the tensor is there for no time
}

}  // namespace
}  // namespace opweave
