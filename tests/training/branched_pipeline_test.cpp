// Pipelines whose layers form a graph: what is built, how it is cut, and that the rest of opweave can plan it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "opweave/error.h"
#include "opweave/experts.h"
#include "opweave/io.h"
#include "opweave/pipeline.h"
#include "opweave/planner.h"
#include "opweave/problem.h"
#include "planner/incumbent.h"
#include "support/brute_force.h"
#include "support/files.h"
#include "training/pipeline_questions.h"

namespace opweave {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using testing::error_of;
using testing::find;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Not;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

Layer layer(const std::string& name, std::optional<Duration> forward, std::optional<Duration> input_gradient,
            std::optional<Duration> weight_gradient, std::int64_t output) {
  Layer result;
  result.name = name;
  result.operators = {{"op", "", {"compute"}, forward, input_gradient, weight_gradient}};
  result.output = Bytes(output);
  return result;
}

/// vision (2 layers) and audio (1) flow into language (1), which flows into text and speech (1 each). Outputs are
/// 10, 11 (vision), 12 (audio), 13 (language) bytes.
PipelineSpec omni() {
  PipelineSpec spec;
  spec.name = "omni";
  spec.shape = PipelineShape::kFree;
  const Duration time(5);
  spec.layers = {layer("vision.0", time, time, time, 10), layer("vision.1", time, time, time, 11),
                 layer("audio", time, time, time, 12),    layer("language", time, time, time, 13),
                 layer("text", time, time, time, 0),      layer("speech", time, time, time, 0)};
  spec.components = {{"vision", 2, {}, {}},
                     {"audio", 1, {}, {}},
                     {"language", 1, {{0, {}}, {1, {}}}, {}},
                     {"text", 1, {{2, {}}}, {}},
                     {"speech", 1, {{2, {}}}, {}}};
  return spec;
}

/// The operators that each operator hands tensors to, with the bytes of each.
using Flow = std::map<std::string, std::int64_t>;
Flow flow_from(const ComputationGraph& graph, const std::string& name) {
  Flow flow;
  for (const Tensor& tensor : graph.tensors()) {
    if (graph.at(*tensor.producer).name != name) continue;
    for (const OperatorId consumer : tensor.consumers) flow[graph.at(consumer).name] += tensor.size.value();
  }
  return flow;
}

TEST(BranchedPipeline, branches_flow_together_and_apart_and_gradients_come_back_on_the_same_ways) {
  const ComputationGraph graph = build_pipeline(omni());
  EXPECT_EQ(graph.operators().size(), 18U);  // 6 layers of F, I, W
  EXPECT_THAT(flow_from(graph, "vision.0.op.F"), ElementsAre(Pair("vision.1.op.F", 10)));
  EXPECT_THAT(flow_from(graph, "vision.1.op.F"), ElementsAre(Pair("language.op.F", 11)));
  EXPECT_THAT(flow_from(graph, "audio.op.F"), ElementsAre(Pair("language.op.F", 12)));
  EXPECT_THAT(flow_from(graph, "language.op.F"), UnorderedElementsAre(Pair("speech.op.F", 13), Pair("text.op.F", 13)));
  // Both losses turn round by themselves; language waits for both gradients and sends one to each encoder.
  EXPECT_THAT(flow_from(graph, "text.op.F"), ElementsAre(Pair("text.op.I", 0)));
  EXPECT_THAT(flow_from(graph, "text.op.I"), Contains(Pair("language.op.I", 13)));
  EXPECT_THAT(flow_from(graph, "speech.op.I"), Contains(Pair("language.op.I", 13)));
  EXPECT_THAT(flow_from(graph, "language.op.I"),
              UnorderedElementsAre(Pair("vision.1.op.I", 11), Pair("audio.op.I", 12), Pair("language.op.W", 0)));
  EXPECT_THAT(flow_from(graph, "language.op.F"), Not(Contains(Key("language.op.I"))));
}

TEST(BranchedPipeline, output_is_one_tensor_for_all_takers_unless_an_input_has_bytes_of_its_own) {
  PipelineSpec spec = omni();
  EXPECT_EQ(find(build_pipeline(spec), "language.op.F").outputs.size(), 1U);
  spec.components[4].inputs[0].size = Bytes(99);
  const ComputationGraph graph = build_pipeline(spec);
  EXPECT_EQ(find(graph, "language.op.F").outputs.size(), 2U);
  EXPECT_THAT(flow_from(graph, "language.op.F"), UnorderedElementsAre(Pair("speech.op.F", 99), Pair("text.op.F", 13)));
  EXPECT_THAT(flow_from(graph, "speech.op.I"), Contains(Pair("language.op.I", 99)));
  EXPECT_THAT(flow_from(graph, "text.op.I"), Contains(Pair("language.op.I", 13)));
}

TEST(BranchedPipeline, frozen_encoder_has_no_backward_and_nobody_sends_it_a_gradient) {
  PipelineSpec spec = omni();
  for (const std::size_t index : {0, 1}) spec.layers[index] = layer(spec.layers[index].name, Duration(5), {}, {}, 11);
  const ComputationGraph graph = build_pipeline(spec);
  EXPECT_EQ(graph.operators().size(), 14U);
  EXPECT_THAT(flow_from(graph, "language.op.I"),
              UnorderedElementsAre(Pair("audio.op.I", 12), Pair("language.op.W", 0)));
}

TEST(BranchedPipeline, first_layer_without_input_gradient_takes_the_gradient_into_its_weights) {
  PipelineSpec spec = omni();
  spec.layers[2] = layer("audio", Duration(5), {}, Duration(5), 12);
  const ComputationGraph graph = build_pipeline(spec);
  EXPECT_THAT(flow_from(graph, "language.op.I"), Contains(Pair("audio.op.W", 12)));
}

TEST(BranchedPipeline, loss_without_a_backward_of_its_own_gives_each_tower_its_gradient) {
  // Two towers of outputs 10 and 20 into a loss that has a forward only.
  PipelineSpec spec;
  spec.name = "towers";
  spec.shape = PipelineShape::kFree;
  const Duration time(5);
  spec.layers = {layer("image", time, time, time, 10), layer("text", time, time, time, 20),
                 layer("loss", time, {}, {}, 0)};
  spec.components = {{"image", 1, {}, {}}, {"text", 1, {}, {}}, {"loss", 1, {{0, {}}, {1, {}}}, {}}};
  const ComputationGraph graph = build_pipeline(spec);
  EXPECT_THAT(flow_from(graph, "loss.op.F"), UnorderedElementsAre(Pair("image.op.I", 10), Pair("text.op.I", 20)));
}

TEST(BranchedPipeline, layer_without_operators_of_a_phase_hands_on_what_it_gets) {
  // pass has a weight gradient only: forward and gradient go through it, on the tensors of its neighbours.
  PipelineSpec spec = omni();
  spec.layers[3] = layer("language", {}, {}, Duration(5), 13);
  const ComputationGraph graph = build_pipeline(spec);
  EXPECT_THAT(flow_from(graph, "audio.op.F"), UnorderedElementsAre(Pair("text.op.F", 12), Pair("speech.op.F", 12)));
  EXPECT_THAT(flow_from(graph, "text.op.I"), Contains(Pair("language.op.W", 13)));
  EXPECT_THAT(flow_from(graph, "text.op.I"), Contains(Pair("vision.1.op.I", 13)));
}

TEST(BranchedPipeline, chain_is_the_same_with_and_without_a_component) {
  PipelineSpec spec = omni();
  spec.components.clear();
  const std::string chain = graph_to_json(build_pipeline(spec));
  spec.components = {{"all", 6, {}, {}}};
  EXPECT_EQ(graph_to_json(build_pipeline(spec)), chain);
  spec.components = {{"first", 2, {}, {}}, {"second", 4, {{0, {}}}, {}}};
  EXPECT_EQ(graph_to_json(build_pipeline(spec)), chain);
}

TEST(BranchedPipeline, component_keeps_to_its_devices) {
  PipelineSpec spec = omni();
  spec.devices = {"gpu0", "gpu1", "gpu2"};
  spec.components[0].devices = {2, 0};
  const ComputationGraph graph = build_pipeline(spec);
  EXPECT_THAT(find(graph, "vision.1.op.W").devices, ElementsAre(ElementsAre("gpu2", "gpu0")));
  EXPECT_THAT(find(graph, "audio.op.F").devices, IsEmpty());
}

TEST(BranchedPipeline, every_layer_is_a_stage_in_the_order_of_the_specification) {
  const ComputationGraph graph = build_pipeline(omni());
  EXPECT_EQ(find(graph, "vision.1.op.I").stage, StageId(1));
  EXPECT_EQ(find(graph, "speech.op.W").stage, StageId(5));
}

TEST(BranchedPipeline, defects_of_components_are_named) {
  PipelineSpec spec = omni();
  spec.components[0].layers = 3;
  EXPECT_THAT(error_of(spec), HasSubstr("components have more or fewer layers than the 6 of the pipeline"));
  spec = omni();
  spec.components[1].layers = 0;
  EXPECT_THAT(error_of(spec), HasSubstr("component \"audio\" has no layers"));
  spec = omni();
  spec.components[1].inputs = {{2, {}}};
  EXPECT_THAT(error_of(spec), HasSubstr("is component 1 and takes from component 2, expected an earlier one"));
  spec = omni();
  spec.components[2].inputs = {{1, {}}, {1, {}}};
  EXPECT_THAT(error_of(spec), HasSubstr("takes from component 1 twice"));
  spec = omni();
  spec.components[0].devices = {0};
  EXPECT_THAT(error_of(spec), HasSubstr("may run on device 0, the pipeline has 0 devices"));
  spec.shape = PipelineShape::kLinear;
  spec.devices = {"a", "b", "c", "d", "e", "f"};
  EXPECT_THAT(error_of(spec), HasSubstr("shape linear decides where every stage lies"));
}

TEST(BranchedPipeline, specification_reads_into_components) {
  const PipelineSpec spec =
      parse_pipeline_spec(testing::content_of(testing::tests_dir() / "golden/formats/two_encoders.pipeline.json"), "s");
  ASSERT_EQ(spec.layers.size(), 4U);
  EXPECT_EQ(spec.layers[1].name, "vision.block.1");
  EXPECT_EQ(spec.layers[3].name, "language.block");
  ASSERT_EQ(spec.components.size(), 3U);
  EXPECT_EQ(spec.components[0].layers, 2U);
  EXPECT_EQ(spec.components[2].inputs[0].component, 0U);
  EXPECT_EQ(spec.components[2].inputs[0].size, Bytes(25));
  EXPECT_EQ(spec.components[2].inputs[1].component, 1U);
  EXPECT_EQ(spec.components[2].inputs[1].size, std::nullopt);
  EXPECT_THAT(spec.components[2].devices, ElementsAre(1U));
}

TEST(BranchedPipeline, every_published_schedule_of_the_flattened_model_is_a_plan_over_the_same_problem) {
  PipelineSpec spec = omni();
  for (Layer& each : spec.layers) each.activation = Bytes(100);
  spec.training.microbatches = 8;
  const Problem problem =
      Problem::create(build_pipeline(spec), uniform_cluster(3, {"compute"}, std::nullopt, Duration(1)));
  std::vector<std::string> names;
  for (const ExpertPlan& expert : expert_plans(problem)) {
    names.push_back(expert.name);
    EXPECT_TRUE(is_valid(problem, expert.schedule)) << expert.name;
  }
  for (const char* name : {"1F1B", "ZB1P", "ZB-V", "DualPipeV"}) EXPECT_THAT(names, Contains(name));
}

TEST(BranchedPipeline, planner_reaches_the_optimum_of_tiny_branched_problems) {
  // Two towers into a loss on two devices, random times: the towers can run side by side, and which device takes the
  // loss matters.
  std::mt19937_64 random(11);
  const auto draw = [&] { return Duration(static_cast<std::int64_t>(1 + random() % 9)); };
  for (int round = 0; round < 12; ++round) {
    PipelineSpec spec;
    spec.name = "towers";
    spec.shape = PipelineShape::kFree;
    spec.layers = {layer("image", draw(), {}, draw(), 2), layer("text", draw(), {}, draw(), 1),
                   layer("loss", draw(), draw(), {}, 0)};
    spec.components = {{"image", 1, {}, {}}, {"text", 1, {}, {}}, {"loss", 1, {{0, {}}, {1, {}}}, {}}};
    for (Layer& each : spec.layers) each.activation = Bytes(10);
    const Problem problem =
        Problem::create(build_pipeline(spec), uniform_cluster(2, {"compute"}, Bytes(40), Duration(1), 1'000'000'000));
    const testing::ExactAnswer exact = testing::brute_force(problem, 50'000'000);
    ASSERT_TRUE(exact.finished && exact.best);
    const PlanResult result = plan(problem, Budget(std::nullopt, 3000));
    ASSERT_TRUE(result.plan) << round;
    EXPECT_EQ(result.plan->statistics.makespan, exact.best->makespan(problem)) << round;
  }
}

}  // namespace
}  // namespace opweave
