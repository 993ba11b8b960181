#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cost/collective.h"
#include "opweave/error.h"
#include "opweave/strategy.h"
#include "strategy/axes.h"
#include "strategy/memory.h"
#include "strategy/stages.h"

namespace opweave {
namespace {

using ::testing::HasSubstr;

/// Eight equal dense layers: hidden 1024, 8 heads of 128, perceptron of 4096 with gate.
ModelDescription small_model() {
  ModelDescription model;
  model.hidden = 1024;
  model.vocabulary = 1000;
  LayerRun layers;
  layers.count = 8;
  layers.attention = {8, 8, 128, {}, {}, true};
  layers.mlp = {4096, true};
  model.layers = {layers};
  return model;
}

Machines nodes(std::uint32_t count) {
  Machines machines = machines_named("h100");
  machines.nodes = count;
  return machines;
}

Strategy degrees(std::uint32_t tensor, std::uint32_t data, std::uint32_t pipeline) {
  Strategy strategy;
  strategy.tensor = tensor;
  strategy.has_sequence_parallelism = tensor > 1;
  strategy.data = data;
  strategy.pipeline = pipeline;
  return strategy;
}

TEST(Collectives, take_what_the_formulas_say) {
  const Ring ring{4, 100, 1};
  EXPECT_DOUBLE_EQ(all_gather_seconds(ring, 400), 1 + 3);  // three of four parts of 100 bytes at 100 per second
  EXPECT_DOUBLE_EQ(all_reduce_seconds(ring, 400), 2 * (1 + 3));
  EXPECT_DOUBLE_EQ(all_reduce_seconds({1, 100, 1}, 400), 0);
}

TEST(StepTime, a_head_of_an_odd_number_of_columns_is_slow_where_the_vocabulary_is_not_padded) {
  ModelDescription model = small_model();
  const TrainingRun run{8, 1024, Precision::kBf16};
  CalibrationProfile unpadded;
  unpadded.pads_vocabulary = false;
  const auto matrix = [&](std::int64_t vocabulary, const CalibrationProfile& profile) {
    model.vocabulary = vocabulary;
    return evaluate(model, nodes(1), run, degrees(1, 8, 1), profile).time.matrix;
  };
  EXPECT_EQ(matrix(50258, unpadded), matrix(50258, {}));
  EXPECT_GT(matrix(50257, unpadded), matrix(50258, unpadded));
  EXPECT_LE(matrix(50257, {}), matrix(50258, {}));
}

TEST(Axes, inside_a_node_use_its_links_and_beyond_it_the_fabric) {
  const Machines machines = nodes(4);
  const auto node = machines.device.node_bandwidth;
  const auto fabric = machines.fabric_bandwidth;
  EXPECT_EQ(strategy::tensor_ring(machines, degrees(8, 4, 1)).bandwidth, node);
  // Every eighth rank: one adapter of each node.
  EXPECT_EQ(strategy::data_ring(machines, degrees(8, 4, 1)).bandwidth, fabric);
  // Every second rank: four adapters of each node.
  EXPECT_EQ(strategy::data_ring(machines, degrees(2, 16, 1)).bandwidth, 4 * fabric);
  EXPECT_EQ(strategy::data_ring(machines, degrees(2, 4, 4)).bandwidth, node);
}

TEST(Evaluate, the_parts_of_a_step_sum_up_to_it) {
  const TrainingRun run{64, 2048, Precision::kBf16};
  for (const Strategy& strategy : {degrees(1, 8, 1), degrees(4, 2, 1), degrees(2, 2, 2), degrees(1, 1, 8)}) {
    const StepTime t = evaluate(small_model(), nodes(1), run, strategy, {}).time;
    EXPECT_EQ(t.step, t.matrix + t.attention + t.traffic + t.recompute + t.tensor + t.expert + t.data + t.hops +
                          t.bubble + t.optimizer);
    EXPECT_GT(t.matrix, Duration(0));
  }
}

TEST(Evaluate, matrix_products_take_their_flops_over_the_rate) {
  const ModelDescription model = small_model();
  const TrainingRun run{8, 2048, Precision::kBf16};
  CalibrationProfile profile;
  profile.matrix = 1;
  Machines machines = nodes(1);
  machines.device.memory_bandwidth = 1e18;  // so that nothing but flops takes time
  const StepTime time = evaluate(model, machines, run, degrees(1, 8, 1), profile).time;
  // One sequence per device: 6 flops per weight and token, and a floor of 4 us for each of 3 x (8 x 4 + 1) products.
  const double weights = 8.0 * 1024 * (4 * 1024 + 3 * 4096) + 1000.0 * 1024;
  const double expected = 6 * weights * 2048 / 989e12 + 3 * (8 * 4 + 1) * 4e-6;
  EXPECT_NEAR(static_cast<double>(time.matrix.value()) * 1e-9, expected, 1e-3 * expected);
}

TEST(Evaluate, a_pipeline_waits_for_one_stage_less_than_it_has) {
  const TrainingRun run{8, 2048, Precision::kBf16};
  ModelDescription model = small_model();
  model.vocabulary = 1;  // no head, so that stages are equal
  const StepTime time = evaluate(model, nodes(1), run, degrees(1, 1, 8), {}).time;
  const Duration busy = time.matrix + time.attention + time.traffic;
  // 8 microbatches on 8 stages of one layer: (8 - 1) / 8 of the busy time; the kernels of a head of one
  // column still take their floor, on the last stage alone.
  EXPECT_NEAR(static_cast<double>(time.bubble.value()) / static_cast<double>(busy.value()), 7.0 / 8, 0.03);
}

TEST(Evaluate, memory_counts_every_state_where_it_lies) {
  const ModelDescription model = small_model();
  const TrainingRun run{64, 2048, Precision::kBf16};
  const auto weights = static_cast<double>(parameters(model));
  Strategy strategy = degrees(1, 8, 1);
  const StepMemory plain = evaluate(model, nodes(1), run, strategy, {}).memory;
  EXPECT_NEAR(static_cast<double>(plain.weights.value()), 2 * weights, 1);
  EXPECT_NEAR(static_cast<double>(plain.gradients.value()), 4 * weights, 1);
  EXPECT_NEAR(static_cast<double>(plain.optimizer.value()), 12 * weights, 1);
  // Kept per token and layer: four of hidden width around the norms, queries, keys, values and their result (4 x 1024),
  // gate, up and product (3 x 4096), 2 bytes each.
  EXPECT_EQ(plain.activations, Bytes(8 * 2048 * 2 * (4 * 1024 + 4 * 1024 + 3 * 4096)));
  strategy.sharding = Sharding::kOptimizer;
  EXPECT_NEAR(static_cast<double>(evaluate(model, nodes(1), run, strategy, {}).memory.optimizer.value()),
              12 * weights / 8, 1);
  strategy.recompute = Recompute::kFull;
  // The input of each layer, and one layer while it is made again.
  EXPECT_EQ(evaluate(model, nodes(1), run, strategy, {}).memory.activations,
            Bytes(8 * 2048 * 2 * 1024 + 2048 * 2 * (8 * 1024 + 3 * 4096)));
}

TEST(Evaluate, modules_leave_what_is_made_of_them) {
  ModelDescription model = small_model();
  const TrainingRun run{64, 2048, Precision::kBf16};
  const Strategy plain = degrees(1, 8, 1);
  const auto kept = [&](const ModelDescription& of, std::initializer_list<LayerModule> modules) {
    Strategy strategy = plain;
    strategy.recomputed_modules = modules;
    strategy.recompute = modules.size() > 0 ? Recompute::kSelective : Recompute::kNone;
    EXPECT_EQ(why_impossible(of, nodes(1), run, strategy), "");
    return evaluate(of, nodes(1), run, strategy, {}).memory.activations.value();
  };
  const std::int64_t all = kept(model, {});
  // Of each layer the norm before the perceptron, gate, up and product are left out; those of one are there while it is
  // made again.
  EXPECT_EQ(all - kept(model, {LayerModule::kPerceptron}), 7 * 2048 * 2 * (1024 + 3 * 4096));
  // torchtitan's keeps the input, queries, values, attention, gate and the last product.
  EXPECT_EQ(all - kept(model, {LayerModule::kAlternateProducts}), 7 * 2048 * 2 * (2 * 1024 + 1024 + 2 * 4096));
  model.layers.front().experts = Experts{8, 2, {512, true}, 256};
  model.layers.front().mlp = {};
  const std::int64_t routed = kept(model, {});
  const std::int64_t of_activation = 2048 * 2 * 2 * 512;
  const std::int64_t of_shared = 2048 * 2 * 3 * 256;
  EXPECT_EQ(routed - kept(model, {LayerModule::kExpertActivation}), 7 * of_activation);
  EXPECT_EQ(routed - kept(model, {LayerModule::kSharedExperts}), 7 * of_shared);
  // Tokens, gate, up and product of two experts each, and all of the shared one.
  EXPECT_EQ(routed - kept(model, {LayerModule::kExperts}), 7 * (2048 * 2 * 2 * (1024 + 3 * 512) + of_shared));
  EXPECT_EQ(routed - kept(model, {LayerModule::kNorms}), 7 * 2048 * 2 * 1024);
}

TEST(Evaluate, what_is_on_the_host_is_not_on_the_device_and_takes_copies) {
  const ModelDescription model = small_model();
  const TrainingRun run{64, 2048, Precision::kBf16};
  Strategy strategy = degrees(1, 8, 1);
  Machines machines = nodes(1);
  const StrategyValue here = evaluate(model, machines, run, strategy, {});
  strategy.activation_offload = 0.25;
  strategy.optimizer_offload = 0.5;
  machines.device.host_bandwidth = 1e9;  // slower than any layer
  const StrategyValue there = evaluate(model, machines, run, strategy, {});
  EXPECT_EQ(there.memory.activations.value(), here.memory.activations.value() * 3 / 4);
  EXPECT_EQ(there.memory.optimizer.value(), here.memory.optimizer.value() / 2);
  EXPECT_EQ(there.memory.host.value(), here.memory.activations.value() / 4 + here.memory.optimizer.value() / 2);
  const double copied = static_cast<double>(here.memory.activations.value()) / 4 / 1e9;
  const double passes =
      static_cast<double>((here.time.matrix + here.time.attention + here.time.traffic).value()) * 1e-9;
  // 8 microbatches, each there and back, less the passes that they run beside; the head is not among these.
  EXPECT_NEAR(static_cast<double>(there.time.offload.value()) * 1e-9, 8 * 2 * copied - passes, 0.05 * passes);
  EXPECT_GT(there.time.optimizer, here.time.optimizer);
  machines.device.host_memory = Bytes(1);
  EXPECT_FALSE(evaluate(model, machines, run, strategy, {}).fits);
}

TEST(Evaluate, halves_and_a_fused_loss_take_fewer_bytes) {
  const ModelDescription model = small_model();
  TrainingRun run{64, 2048, Precision::kBf16};
  const Strategy strategy = degrees(1, 8, 1);
  const StepMemory plain = evaluate(model, nodes(1), run, strategy, {}).memory;
  run.has_bf16_gradients = run.has_bf16_moments = run.has_fused_loss = true;
  const StepMemory halves = evaluate(model, nodes(1), run, strategy, {}).memory;
  EXPECT_EQ(halves.gradients.value(), plain.gradients.value() / 2);
  EXPECT_EQ(halves.optimizer.value(), plain.optimizer.value() / 12 * 8);
  EXPECT_EQ(halves.buffers.value(), plain.buffers.value() * 4 / 10);
}

TEST(Evaluate, pipelines_hold_as_many_microbatches_as_their_schedule_needs) {
  const ModelDescription model = small_model();
  const Machines machines = nodes(1);
  const TrainingRun run{64, 2048, Precision::kBf16};
  const CalibrationProfile profile;
  Strategy strategy = degrees(2, 1, 4);
  const strategy::Setting setting{model, machines, run, strategy, profile};
  EXPECT_EQ(strategy::in_flight(setting, 0), 4);
  EXPECT_EQ(strategy::in_flight(setting, 3), 1);
  strategy.schedule = PipelineKind::kInterleaved;
  strategy.chunks = 2;
  // Megatron's warm-up on the first rank: 2 x 3 + 1 x 4 chunks, and the one that it works on, of half a stage each.
  EXPECT_EQ(strategy::in_flight(setting, 0), 5.5);
}

TEST(Strategy, what_cannot_be_is_told_with_its_numbers) {
  const ModelDescription model = small_model();
  const TrainingRun run{64, 2048, Precision::kBf16};
  const auto why = [&](const Strategy& strategy) { return why_impossible(model, nodes(1), run, strategy); };
  EXPECT_EQ(why(degrees(2, 2, 2)), "");
  EXPECT_THAT(why(degrees(2, 2, 1)), HasSubstr("= 4 devices, the cluster has 8"));
  Machines seven = nodes(1);
  seven.devices_per_node = 7;
  EXPECT_THAT(why_impossible(model, seven, run, degrees(7, 1, 1)), HasSubstr("8 heads cannot be split by tensor 7"));
  Strategy strategy = degrees(1, 8, 1);
  strategy.micro_batch = 16;
  EXPECT_THAT(why(strategy), HasSubstr("a batch of 64 is less than data 8 x microbatch 16"));
  strategy = degrees(1, 8, 1);
  strategy.expert = 2;
  EXPECT_THAT(why(strategy), HasSubstr("the model has no experts"));
  strategy = degrees(1, 2, 4);
  strategy.layers_per_stage = {2, 2, 2, 1};
  EXPECT_THAT(why(strategy), HasSubstr("sum up to 7, expected 8"));
  strategy = degrees(1, 8, 1);
  strategy.recompute = Recompute::kSelective;
  EXPECT_THAT(why(strategy), HasSubstr("recompute is selective, but recomputed modules are not set"));
  strategy.recompute = Recompute::kNone;
  strategy.recomputed_modules = {LayerModule::kPerceptron};
  EXPECT_THAT(why(strategy), HasSubstr("but recompute is none: expected selective"));
  strategy.recompute = Recompute::kSelective;
  strategy.offload_per_stage = {0.5, 0.5};
  EXPECT_THAT(why(strategy), HasSubstr("offload per stage has 2 entries, expected 1"));
  EXPECT_THROW((void)machines_named("tpu9"), InputError);
}

TEST(Strategy, reading_what_was_written_is_the_identity) {
  Strategy strategy = degrees(4, 2, 8);
  strategy.recompute = Recompute::kFull;
  strategy.recomputed_layers = 3;
  strategy.layers_per_stage = {1, 1, 1, 1, 1, 1, 1, 1};
  strategy.recomputed_modules = {LayerModule::kPerceptron, LayerModule::kNorms};
  strategy.modules_per_stage.assign(8, {LayerModule::kExperts});
  strategy.modules_per_stage[3] = {};
  strategy.activation_offload = 0.25;
  strategy.offload_per_stage = {0, 0.25, 0.5, 0.75, 1, 0, 0, 0};
  strategy.optimizer_offload = 0.5;
  EXPECT_EQ(parse_strategy(strategy_to_json(strategy), "strategy.json"), strategy);
}

}  // namespace
}  // namespace opweave
