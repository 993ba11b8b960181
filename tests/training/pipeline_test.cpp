#include "opweave/pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>

#include "opweave/error.h"
#include "opweave/experts.h"
#include "opweave/plan.h"
#include "opweave/problem.h"
#include "training/pipeline_questions.h"

namespace opweave {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using testing::find;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// compute F 10, I 20, W 5; then communication F 3, I 4 without W.
Layer two_operator_layer(const std::string& name) {
  Layer layer;
  layer.name = name;
  layer.operators = {{"attention", "attention", {"compute"}, Duration(10), Duration(20), Duration(5)},
                     {"dispatch", "all_to_all", {"comm"}, Duration(3), Duration(4), std::nullopt}};
  layer.weights = Bytes(1000);
  layer.activation = Bytes(100);
  layer.activation_until_input_gradient = Bytes(30);
  layer.weight_gradient_input = Bytes(7);
  layer.output = Bytes(11);
  return layer;
}

PipelineSpec pipeline(std::uint32_t layers, std::uint32_t stages, PipelineShape shape, std::uint32_t devices,
                      std::uint32_t microbatches = 2) {
  PipelineSpec spec;
  spec.name = "test";
  for (std::uint32_t layer = 0; layer < layers; ++layer) {
    spec.layers.push_back(two_operator_layer("layer" + std::to_string(layer)));
  }
  spec.stage_of_layer = even_stages(layers, stages);
  spec.shape = shape;
  for (std::uint32_t device = 0; device < devices; ++device) spec.devices.push_back("gpu" + std::to_string(device));
  spec.training.microbatches = microbatches;
  spec.training.replicas = shape == PipelineShape::kTwoWay ? 2 : 1;
  return spec;
}

/// Sizes of the tensors that one operator hands to another.
std::vector<std::int64_t> handed_over(const ComputationGraph& graph, const std::string& from, const std::string& to) {
  std::vector<std::int64_t> sizes;
  const auto& inputs = find(graph, to).inputs;
  for (const TensorId tensor : find(graph, from).outputs) {
    if (std::count(inputs.begin(), inputs.end(), tensor) > 0) sizes.push_back(graph.at(tensor).size.value());
  }
  return sizes;
}

TEST(PipelineShape, names_are_read_back) {
  for (const PipelineShape shape : {PipelineShape::kLinear, PipelineShape::kV, PipelineShape::kLoop,
                                    PipelineShape::kTwoWay, PipelineShape::kFree}) {
    EXPECT_EQ(shape_from_string(to_string(shape)), shape);
  }
  EXPECT_EQ(shape_from_string("v"), std::nullopt);
}

TEST(PipelineShape, stages_lie_where_the_shape_says) {
  const auto devices = [](PipelineShape shape, std::uint32_t stages, std::uint32_t replica) {
    std::vector<std::uint32_t> result;
    for (std::uint32_t stage = 0; stage < stages; ++stage) {
      result.push_back(device_of_stage(shape, stage, replica, 3));
    }
    return result;
  };
  EXPECT_THAT(devices(PipelineShape::kLinear, 3, 0), ElementsAre(0, 1, 2));
  EXPECT_THAT(devices(PipelineShape::kV, 6, 0), ElementsAre(0, 1, 2, 2, 1, 0));
  EXPECT_THAT(devices(PipelineShape::kLoop, 6, 0), ElementsAre(0, 1, 2, 0, 1, 2));
  EXPECT_THAT(devices(PipelineShape::kTwoWay, 3, 0), ElementsAre(0, 1, 2));
  EXPECT_THAT(devices(PipelineShape::kTwoWay, 3, 1), ElementsAre(2, 1, 0));
}

TEST(PipelineShape, even_stages_differ_by_at_most_one_layer) {
  EXPECT_THAT(even_stages(7, 3), ElementsAre(0, 0, 0, 1, 1, 2, 2));
  for (std::uint32_t layers = 1; layers < 40; ++layers) {
    for (std::uint32_t stages = 1; stages <= layers; ++stages) {
      std::vector<std::uint32_t> sizes(stages, 0);
      for (const std::uint32_t stage : even_stages(layers, stages)) ++sizes.at(stage);
      const auto [least, most] = std::minmax_element(sizes.begin(), sizes.end());
      ASSERT_LE(*most - *least, 1U) << layers << " layers, " << stages << " stages";
    }
  }
}

TEST(PipelineAction, text_is_read_back) {
  const std::pair<PipelineAction, const char*> cases[] = {{{ActionKind::kForward, 2, 0, 0, 0}, "2F0"},
                                                          {{ActionKind::kInputGradient, 12, 34, 0, 0}, "12I34"},
                                                          {{ActionKind::kWeightGradient, 3, 1, 0, 0}, "3W1"},
                                                          {{ActionKind::kBackward, 0, 7, 0, 0}, "0B7"},
                                                          {{ActionKind::kPair, 0, 7, 7, 3}, "(0F7;7B3)OVERLAP_F_B"}};
  for (const auto& [action, text] : cases) {
    EXPECT_EQ(to_string(action), text);
    EXPECT_EQ(action_from_string(text), action);
  }
}

TEST(PipelineAction, text_with_anything_left_over_or_missing_is_rejected) {
  for (const char* text : {"",
                           "2",
                           "F0",
                           "2F",
                           "2F0x",
                           " 2F0",
                           "2F0 ",
                           "2X0",
                           "2f0",
                           "+2F0",
                           "-2F0",
                           "02F0",
                           "2F00",
                           "2F4294967296",
                           "(0F7;7B3)",
                           "(0F7;7B3)OVERLAP_F_BX",
                           "(0F7)OVERLAP_F_B",
                           "(7B3;0F7)OVERLAP_F_B",
                           "(0F7;7I3)OVERLAP_F_B",
                           "(0F7;7B3;1F1)OVERLAP_F_B",
                           "0F7;7B3)OVERLAP_F_B",
                           "()OVERLAP_F_B",
                           "(",
                           ")OVERLAP_F_B",
                           "(;)OVERLAP_F_B"}) {
    EXPECT_EQ(action_from_string(text), std::nullopt) << text;
  }
}

TEST(UniformCluster, devices_are_equal_and_a_hop_apart) {
  const Cluster cluster = uniform_cluster(3, {"compute", "comm"}, Bytes(64), Duration(5), 1'000'000'000);
  EXPECT_EQ(cluster.device_count(), 3U);
  EXPECT_EQ(cluster.at(DeviceId(2)).name, "gpu2");
  EXPECT_EQ(cluster.at(DeviceId(2)).memory, Bytes(64));
  EXPECT_THAT(cluster.stream_names(), ElementsAre("compute", "comm"));
  // 5 ns of latency and 100 bytes at 1 byte per ns.
  EXPECT_EQ(cluster.transfer_time(Bytes(100), DeviceId(0), DeviceId(2)), Duration(105));
}

TEST(PipelineBuilder, forward_goes_up_the_layers_and_the_gradient_comes_back) {
  const ComputationGraph graph = build_pipeline(pipeline(2, 2, PipelineShape::kLinear, 2));
  EXPECT_EQ(graph.operators().size(), 10U);  // two layers of 2 F, 2 I, 1 W
  EXPECT_THAT(handed_over(graph, "layer0.attention.F", "layer0.dispatch.F"), ElementsAre(0));
  EXPECT_THAT(handed_over(graph, "layer0.dispatch.F", "layer1.attention.F"), ElementsAre(11));
  EXPECT_THAT(handed_over(graph, "layer1.dispatch.F", "layer1.dispatch.I"), ElementsAre(0));
  EXPECT_THAT(handed_over(graph, "layer1.dispatch.I", "layer1.attention.I"), ElementsAre(0));
  EXPECT_THAT(handed_over(graph, "layer1.attention.I", "layer0.dispatch.I"), ElementsAre(11));
  EXPECT_THAT(handed_over(graph, "layer0.attention.I", "layer0.attention.W"), ElementsAre(7));
}

TEST(PipelineBuilder, activations_wait_for_the_backward_of_their_layer) {
  const ComputationGraph graph = build_pipeline(pipeline(2, 2, PipelineShape::kLinear, 2));
  for (const std::string layer : {"layer0", "layer1"}) {
    EXPECT_THAT(handed_over(graph, layer + ".attention.F", layer + ".attention.W"), ElementsAre(100));
    // The last I of the layer is that of its first operator.
    EXPECT_THAT(handed_over(graph, layer + ".attention.F", layer + ".attention.I"), ElementsAre(30));
    EXPECT_THAT(handed_over(graph, layer + ".attention.F", layer + ".dispatch.I"), IsEmpty());
  }
}

TEST(PipelineBuilder, activation_of_a_layer_without_weight_gradients_waits_for_its_last_input_gradient) {
  PipelineSpec spec = pipeline(1, 1, PipelineShape::kLinear, 1);
  spec.layers[0].operators[0].weight_gradient.reset();
  const ComputationGraph graph = build_pipeline(spec);
  EXPECT_THAT(handed_over(graph, "layer0.attention.F", "layer0.attention.I"), ElementsAre(100, 30));
}

TEST(PipelineBuilder, weight_gradient_without_input_gradient_takes_the_gradient_that_arrives) {
  // As on the first stage in PyTorch: I does nothing, W runs the whole backward.
  PipelineSpec spec = pipeline(2, 2, PipelineShape::kLinear, 2);
  spec.layers[0].operators[0].input_gradient.reset();
  spec.layers[0].operators[1].input_gradient.reset();
  const ComputationGraph graph = build_pipeline(spec);
  EXPECT_THAT(handed_over(graph, "layer1.attention.I", "layer0.attention.W"), ElementsAre(11));
  EXPECT_THAT(handed_over(graph, "layer0.attention.F", "layer0.attention.W"), ElementsAre(100));
}

TEST(PipelineBuilder, weight_gradient_between_input_gradients_does_not_change_what_is_sent) {
  // The first operator has W only, so it and the previous layer take the same tensor.
  PipelineSpec spec = pipeline(2, 2, PipelineShape::kLinear, 2);
  spec.layers[1].operators[0].input_gradient.reset();
  const ComputationGraph graph = build_pipeline(spec);
  EXPECT_THAT(handed_over(graph, "layer1.dispatch.I", "layer1.attention.W"), ElementsAre(11));
  EXPECT_THAT(handed_over(graph, "layer1.dispatch.I", "layer0.dispatch.I"), ElementsAre(11));
}

TEST(PipelineBuilder, pipeline_without_backward_is_a_chain) {
  PipelineSpec spec = pipeline(2, 2, PipelineShape::kLinear, 2);
  for (Layer& layer : spec.layers) {
    for (LayerOperator& op : layer.operators) op.input_gradient = op.weight_gradient = std::nullopt;
  }
  const ComputationGraph graph = build_pipeline(spec);
  EXPECT_EQ(graph.operators().size(), 4U);
  EXPECT_EQ(graph.tensors().size(), 3U);  // one less than operators, no activation is kept
}

TEST(PipelineBuilder, operators_carry_stage_layer_device_and_parameter) {
  const ComputationGraph graph = build_pipeline(pipeline(4, 4, PipelineShape::kV, 2));
  const Operator& op = find(graph, "layer3.dispatch.I");
  EXPECT_EQ(op.stage, StageId(3));
  EXPECT_EQ(op.layer, "layer3");
  EXPECT_EQ(op.kind, "all_to_all");
  EXPECT_EQ(op.phase, Phase::kInputGradient);
  EXPECT_THAT(op.streams, ElementsAre("comm"));
  EXPECT_THAT(op.devices, ElementsAre(ElementsAre("gpu0")));  // stage 3 comes back to device 0
  EXPECT_THAT(op.parameters, ElementsAre(ParameterId(3)));
  EXPECT_EQ(graph.at(ParameterId(3)).weights, Bytes(1000));
}

TEST(PipelineBuilder, replicas_of_a_two_way_pipeline_run_in_opposite_directions) {
  const ComputationGraph graph = build_pipeline(pipeline(2, 2, PipelineShape::kTwoWay, 2));
  EXPECT_THAT(find(graph, "layer0.attention.F").devices, ElementsAre(ElementsAre("gpu0"), ElementsAre("gpu1")));
}

TEST(PipelineBuilder, free_pipeline_keeps_layers_together_anywhere) {
  PipelineSpec spec = pipeline(3, 3, PipelineShape::kFree, 0);
  spec.stage_of_layer.clear();
  const Problem problem =
      Problem::create(build_pipeline(spec), uniform_cluster(2, {"compute", "comm"}, std::nullopt, Duration(0)));
  EXPECT_EQ(problem.group_count(), 3U);
  for (std::size_t group = 0; group < 3; ++group) EXPECT_EQ(problem.devices_of(GroupId(group)).size(), 2U);
  EXPECT_EQ(problem.op(TaskId(0)).stage, StageId(0));
}

TEST(PipelineBuilder, operator_level_transformer_is_6400_tasks_in_every_shape) {
  // A layer of attention, dispatch, mlp, combine: 4 F, 4 I, 2 W. 32 layers x 20 microbatches x 10 operators.
  Layer layer;
  const Duration time(1000);
  layer.operators = {{"attention", "", {"compute"}, time, time, time},
                     {"dispatch", "", {"comm"}, time, time, std::nullopt},
                     {"mlp", "", {"compute"}, time, time, time},
                     {"combine", "", {"comm"}, time, time, std::nullopt}};
  const Cluster cluster = uniform_cluster(8, {"compute", "comm"}, std::nullopt, Duration(0));
  const std::pair<PipelineShape, std::uint32_t> shapes[] = {{PipelineShape::kLinear, 8},
                                                            {PipelineShape::kV, 16},
                                                            {PipelineShape::kLoop, 16},
                                                            {PipelineShape::kTwoWay, 8},
                                                            {PipelineShape::kFree, 32}};
  for (const auto& [shape, stages] : shapes) {
    PipelineSpec spec = pipeline(32, stages, shape, 8, 20);
    for (Layer& each : spec.layers) each.operators = layer.operators;
    EXPECT_EQ(Problem::create(build_pipeline(spec), cluster).task_count(), 6400U) << to_string(shape);
  }
}

TEST(PipelineBuilder, sizes_that_do_not_fit_the_shape_are_errors_with_both_numbers) {
  EXPECT_THAT(error_of(pipeline(3, 3, PipelineShape::kLinear, 2)),
              HasSubstr("shape linear needs 2 stages for 2 devices, got 3"));
  EXPECT_THAT(error_of(pipeline(3, 3, PipelineShape::kV, 2)), HasSubstr("shape V needs 4 stages for 2 devices, got 3"));
  EXPECT_THAT(error_of(pipeline(3, 3, PipelineShape::kLoop, 2)),
              HasSubstr("shape loop needs a multiple of 2 stages for 2 devices, got 3"));
  EXPECT_THAT(error_of(pipeline(3, 3, PipelineShape::kTwoWay, 2)),
              HasSubstr("shape two-way needs 2 stages for 2 devices, got 3"));
  EXPECT_THAT(error_of(pipeline(2, 2, PipelineShape::kLinear, 0)), HasSubstr("needs devices, none given"));
}

TEST(PipelineBuilder, defects_of_a_specification_are_named) {
  PipelineSpec spec = pipeline(2, 2, PipelineShape::kTwoWay, 2);
  spec.training.replicas = 1;
  EXPECT_THAT(error_of(spec), HasSubstr("shape two-way needs 2 replicas, training has 1"));
  spec = pipeline(2, 2, PipelineShape::kLinear, 2);
  spec.training.replicas = 2;
  EXPECT_THAT(error_of(spec), HasSubstr("shape linear needs 1 replicas, training has 2"));
  spec = pipeline(2, 2, PipelineShape::kLinear, 2);
  spec.devices[1] = "gpu0";
  EXPECT_THAT(error_of(spec), HasSubstr("one is named twice"));
  spec = pipeline(2, 2, PipelineShape::kLinear, 2);
  spec.stage_of_layer = {0};
  EXPECT_THAT(error_of(spec), HasSubstr("stage_of_layer has 1 entries for 2 layers"));
  spec.stage_of_layer = {1, 1};
  EXPECT_THAT(error_of(spec), HasSubstr("layer 0 is in stage 1, expected 0"));
  spec.stage_of_layer = {0, 2};
  EXPECT_THAT(error_of(spec), HasSubstr("layer 1 is in stage 2, expected 0 or 1"));
  spec = pipeline(2, 2, PipelineShape::kLinear, 2);
  spec.layers[1].name = "layer0";
  EXPECT_THAT(error_of(spec), HasSubstr("layer0"));
  spec.layers.clear();
  EXPECT_THAT(error_of(spec), HasSubstr("no layers"));
}

/// Layers of `fast` ns on devices of type "fast" and twice that on all others.
PipelineSpec layers_by_speed(std::uint32_t layers, std::int64_t fast, PipelineShape shape, const Cluster& cluster) {
  PipelineSpec spec = pipeline(layers, layers, shape, 0);
  for (Layer& layer : spec.layers) {
    layer.operators = {
        {"op", "", {"compute"}, LayerTime({{"fast", Duration(fast)}, {"", Duration(2 * fast)}}), {}, {}}};
  }
  for (const Device& device : cluster.devices()) spec.devices.push_back(device.name);
  return spec;
}

/// Devices "d0", "d1", ... of these types.
Cluster typed_cluster(const std::vector<std::string>& types) {
  ClusterParts parts;
  parts.types = {{"fast", {}, {}}, {"slow", {}, {}}};
  for (const std::string& type : types) {
    parts.devices.push_back({"d" + std::to_string(parts.devices.size()), type, {}, {"compute"}});
  }
  return Cluster::create(std::move(parts));
}

/// By layer, the stages that cut_pipeline chooses.
std::vector<std::uint32_t> cut_for(const Cluster& cluster, PipelineSpec spec) {
  (void)cut_pipeline(spec, {}, cluster);
  return spec.stage_of_layer;
}

TEST(CutOnUnequalDevices, devices_of_half_the_speed_get_half_the_layers) {
  // 6 layers of 1: fast devices take 1 per layer and slow ones 2. (2, 2, 1, 1) takes 2 on every device.
  const Cluster cluster = typed_cluster({"fast", "fast", "slow", "slow"});
  const PipelineSpec spec = layers_by_speed(6, 1, PipelineShape::kLinear, cluster);
  EXPECT_THAT(cut_for(cluster, spec), ElementsAre(0, 0, 1, 1, 2, 3));
  // The same devices the other way round.
  const Cluster reversed = typed_cluster({"slow", "slow", "fast", "fast"});
  EXPECT_THAT(cut_for(reversed, spec), ElementsAre(0, 1, 2, 2, 3, 3));
}

TEST(CutOnUnequalDevices, longest_stage_is_the_shortest_of_all_cuts) {
  // Against every cut of 7 layers of different times into 3 stages on three orders of two types.
  for (const auto& types : std::vector<std::vector<std::string>>{
           {"slow", "fast", "fast"}, {"fast", "slow", "fast"}, {"fast", "fast", "slow"}, {"slow", "fast", "slow"}}) {
    const Cluster cluster = typed_cluster(types);
    for (std::int64_t seed = 1; seed <= 3; ++seed) {
      PipelineSpec spec = layers_by_speed(7, 1, PipelineShape::kLinear, cluster);
      std::int64_t state = seed;
      for (Layer& layer : spec.layers) {
        state = state * 37 % 101;
        layer.operators[0].forward = LayerTime({{"fast", Duration(state % 9)}, {"slow", Duration(state % 9 * 2 + 1)}});
      }
      const auto longest = [&](const std::vector<std::uint32_t>& stage_of_layer) {
        std::vector<std::int64_t> time(3, 0);
        for (std::size_t layer = 0; layer < 7; ++layer) {
          time[stage_of_layer[layer]] +=
              spec.layers[layer].operators[0].forward->on(types[stage_of_layer[layer]])->value();
        }
        return *std::max_element(time.begin(), time.end());
      };
      std::int64_t best = std::numeric_limits<std::int64_t>::max();
      for (std::size_t second = 1; second < 6; ++second) {
        for (std::size_t third = second + 1; third < 7; ++third) {
          std::vector<std::uint32_t> cut(7, 0);
          for (std::size_t layer = second; layer < 7; ++layer) cut[layer] = layer < third ? 1 : 2;
          best = std::min(best, longest(cut));
        }
      }
      const std::vector<std::uint32_t> cut = cut_for(cluster, spec);
      EXPECT_EQ(std::set<std::uint32_t>(cut.begin(), cut.end()).size(), 3U);
      EXPECT_EQ(longest(cut), best) << "seed " << seed;
    }
  }
}

TEST(CutOnUnequalDevices, layer_without_a_time_on_a_device_is_named) {
  const Cluster cluster = typed_cluster({"fast", "slow"});
  PipelineSpec spec = layers_by_speed(2, 1, PipelineShape::kLinear, cluster);
  spec.layers[1].operators[0].forward = LayerTime({{"fast", Duration(1)}});
  try {
    (void)cut_for(cluster, spec);
    FAIL();
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(), "operator \"op\" of layer \"layer1\" has no time for devices of type \"slow\"");
  }
}

TEST(CutOnUnequalDevices, times_that_overflow_are_refused) {
  // 56 layers of 9.007e15 ns, twice: 1.009e18.
  const Cluster cluster = typed_cluster({"fast", "fast"});
  const PipelineSpec spec = layers_by_speed(56, kMaxInputValue, PipelineShape::kLinear, cluster);
  try {
    (void)cut_for(cluster, spec);
    FAIL();
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(), "the layers take 1.01e+18 ns for 2 microbatches, expected at most 1e+18");
  }
}

TEST(UnequalMicrobatches, each_has_operators_and_tensors_of_its_own_size) {
  PipelineSpec spec = pipeline(2, 2, PipelineShape::kLinear, 2, 2);
  spec.microbatch_scales = {{1.5, 2}, {1, 1}};
  const ComputationGraph graph = build_pipeline(spec);
  // Per microbatch and layer F, I and W of attention, F and I of dispatch.
  EXPECT_EQ(graph.operators().size(), 2U * 2 * 5);
  EXPECT_EQ(graph.training().microbatches, 1U);
  EXPECT_EQ(graph.parameters().size(), 2U);
  // ceil(10 x 1.5), ceil(5 x 1.5), and as the layer says.
  EXPECT_EQ(find(graph, "layer0.attention.F#0").durations[0].duration, Duration(15));
  EXPECT_EQ(find(graph, "layer0.attention.W#0").durations[0].duration, Duration(8));
  EXPECT_EQ(find(graph, "layer0.attention.W#1").durations[0].duration, Duration(5));
  EXPECT_THAT(handed_over(graph, "layer0.dispatch.F#0", "layer1.attention.F#0"), ElementsAre(22));
  EXPECT_THAT(handed_over(graph, "layer0.dispatch.F#1", "layer1.attention.F#1"), ElementsAre(11));
  EXPECT_THAT(handed_over(graph, "layer0.dispatch.F#0", "layer1.attention.F#1"), IsEmpty());
  EXPECT_EQ(find(graph, "layer1.attention.F#0").parameters, find(graph, "layer1.attention.F#1").parameters);
  EXPECT_EQ(find(graph, "layer0.attention.F#0").stage, std::nullopt);
}

TEST(UnequalMicrobatches, scales_of_one_change_nothing_but_names) {
  // Same tasks, same groups, same devices: the same optimum.
  for (const PipelineShape shape : {PipelineShape::kLinear, PipelineShape::kTwoWay}) {
    PipelineSpec spec = pipeline(2, 2, shape, 2, 2);
    const Cluster cluster = uniform_cluster(2, {"compute", "comm"}, Bytes(9000), Duration(1));
    const Problem equal = Problem::create(build_pipeline(spec), cluster);
    spec.microbatch_scales = {{1, 1}, {1, 1}};
    const Problem unrolled = Problem::create(build_pipeline(spec), cluster);
    ASSERT_EQ(unrolled.task_count(), equal.task_count());
    EXPECT_EQ(unrolled.group_count(), equal.group_count());
    for (std::size_t t = 0; t < unrolled.task_count(); ++t) {
      const TaskId task(t);
      const auto op =
          std::ranges::find(equal.graph().operators(),
                            unrolled.op(task).name.substr(0, unrolled.op(task).name.find('#')), &Operator::name);
      ASSERT_NE(op, equal.graph().operators().end());
      const std::uint32_t microbatch = unrolled.op(task).name.back() - '0';
      const TaskId same = equal.task_of(OperatorId(op - equal.graph().operators().begin()), microbatch);
      EXPECT_EQ(unrolled.mode(task, 0).devices.front(), equal.mode(same, 0).devices.front());
      EXPECT_EQ(unrolled.mode(task, 0).duration, equal.mode(same, 0).duration);
    }
  }
}

TEST(UnequalMicrobatches, scales_that_do_not_fit_are_errors_with_both_numbers) {
  PipelineSpec spec = pipeline(2, 2, PipelineShape::kLinear, 2, 3);
  spec.microbatch_scales = {{1, 1}, {1, 1}};
  EXPECT_THAT(error_of(spec), HasSubstr("2 microbatch scales for 3 microbatches"));
  spec.microbatch_scales = {{1, 1}, {1, -1}, {1, 1}};
  EXPECT_THAT(error_of(spec), HasSubstr("microbatch scale is -1, expected a number of 0 to 1000"));
  spec.microbatch_scales = {{1, 1}, {1000, 1}, {1, 1}};
  spec.layers[0].operators[0].forward = Duration(kMaxInputValue);
  EXPECT_THAT(error_of(spec), HasSubstr("\"layer0.attention.F\" is 9007199254740991 x 1000, expected at most"));
  spec = pipeline(2, 2, PipelineShape::kFree, 2, 2);
  spec.training.replicas = 2;
  spec.microbatch_scales = {{1, 1}, {1, 1}};
  EXPECT_THAT(error_of(spec), HasSubstr("with 2 copies of every parameter in shape free"));
}

}  // namespace
}  // namespace opweave
