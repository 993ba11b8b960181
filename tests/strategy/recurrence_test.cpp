#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "opweave/error.h"
#include "opweave/strategy_search.h"
#include "opweave/strategy_targets.h"

namespace opweave {
namespace {

using ::testing::HasSubstr;

/// Mamba-2 of 2.7 billion parameters and larger: 128 heads of 64, 8 groups, a state of 128 per column.
Recurrence state_space() {
  Recurrence recurrence;
  recurrence.heads = 128;
  recurrence.key_heads = 8;
  recurrence.key_dim = 128;
  recurrence.value_dim = 64;
  recurrence.decays = 1;
  recurrence.convolution = 4;
  recurrence.has_gate = true;
  return recurrence;
}

ModelDescription of_runs(std::vector<LayerRun> runs) {
  ModelDescription model;
  model.hidden = 4096;
  model.vocabulary = 1000;
  model.layers = std::move(runs);
  return model;
}

LayerRun recurrent(StateUpdate update) {
  LayerRun run;
  run.count = 8;
  run.recurrence = state_space();
  run.recurrence->update = update;
  if (update == StateUpdate::kScan) run.recurrence->decay_rank = 256;
  return run;
}

LayerRun attention_alone() {
  LayerRun run;
  run.attention.heads = 32;
  run.attention.kv_heads = 8;
  run.attention.head_dim = 128;
  return run;
}

LayerRun perceptron_alone() {
  LayerRun run;
  run.mlp.width = 14336;
  return run;
}

Machines one_node() { return machines_named("h100"); }

Strategy degrees_in_node(std::uint32_t tensor, std::uint32_t context, std::uint32_t data) {
  Strategy strategy;
  strategy.tensor = tensor;
  strategy.has_sequence_parallelism = tensor > 1;
  strategy.context = context;
  strategy.data = data;
  return strategy;
}

StrategyValue value_of(const ModelDescription& model, const Strategy& strategy, std::int64_t sequence = 8192) {
  return evaluate(model, one_node(), {8, sequence, Precision::kBf16}, strategy, {});
}

TEST(Recurrence, has_the_parameters_of_its_matrices) {
  // Into 2 x 8192 values and gates, 2 x 1024 queries and keys, 128 decays; and out of 8192.
  EXPECT_EQ(recurrence_parameters(4096, state_space()), 4096 * (16384 + 2048 + 128) + 8192 * 4096);
  Recurrence scan = state_space();
  scan.update = StateUpdate::kScan;
  scan.decay_rank = 256;
  // Decays by rank 256, queries and keys are made from the values.
  EXPECT_EQ(recurrence_parameters(4096, scan), 4096 * 16384 + 8192 * (256 + 2048) + 256 * 8192 + 8192 * 4096);
}

/// Kimi's linear attention: 32 heads of 128, decays by column and gates through a rank of 128.
Recurrence kimi() {
  Recurrence recurrence;
  recurrence.update = StateUpdate::kDelta;
  recurrence.heads = recurrence.key_heads = 32;
  recurrence.key_dim = recurrence.value_dim = recurrence.decay_rank = recurrence.gate_rank = 128;
  recurrence.decays = 1;
  recurrence.convolution = 4;
  recurrence.has_gate = true;
  return recurrence;
}

/// RWKV-4 of 4096 columns.
LayerRun rwkv() {
  LayerRun run;
  run.count = 8;
  run.recurrence.emplace();
  run.recurrence->update = StateUpdate::kAverage;
  run.recurrence->heads = run.recurrence->key_heads = 4096;
  run.recurrence->key_dim = run.recurrence->value_dim = 1;
  run.recurrence->has_gate = true;
  run.mlp = {.width = 16384, .is_gated = false, .has_result_gate = true};
  return run;
}

TEST(Recurrence, of_kimi_makes_decays_and_gates_through_a_rank) {
  // Queries, keys, values and out of 4096 columns, a strength per head, and two times into a rank and out of it.
  EXPECT_EQ(recurrence_parameters(2304, kimi()), 2304 * (4 * 4096 + 32) + 2 * 128 * (2304 + 4096));
  LayerRun run;
  run.count = 8;
  run.recurrence = kimi();
  const ModelDescription model = of_runs({run});
  const auto weights = [&](std::uint32_t tensor) {
    return value_of(model, degrees_in_node(tensor, 1, 8 / tensor)).memory.weights.value();
  };
  // Two bytes of each of 4096 x (128 + 128) weights into the ranks in 8 layers, on all of 2 ranks.
  EXPECT_EQ(2 * weights(2) - weights(1), 2 * 8 * 4096 * 256);
}

TEST(Recurrence, of_rwkv_has_no_queries_and_gates_what_its_perceptron_makes) {
  // Keys, values, gates and out; a perceptron of two matrices, and a square one for its gate.
  const LayerRun run = rwkv();
  EXPECT_EQ(recurrence_parameters(4096, *run.recurrence), 4 * 4096 * 4096);
  EXPECT_EQ(mlp_parameters(4096, run.mlp), 2 * 4096 * 16384 + 4096 * 4096);
  const ModelDescription model = of_runs({run});
  const auto weights = [&](std::uint32_t tensor) {
    return value_of(model, degrees_in_node(tensor, 1, 8 / tensor)).memory.weights.value();
  };
  EXPECT_EQ(2 * weights(2) - weights(1), std::int64_t{2} * 8 * 4096 * 4096);  // the square one, on all ranks
  EXPECT_THAT(why_impossible(model, one_node(), {8, 8192}, degrees_in_node(1, 2, 4)),
              HasSubstr("context is 2, but update \"average\" (RWKV) mixes each token with the one before"));
}

TEST(Recurrence, of_a_short_convolution_has_keys_and_gates_and_no_queries) {
  LayerRun run = rwkv();
  run.mlp = {};
  run.mlp.width = 8192;
  run.recurrence->update = StateUpdate::kConvolve;
  run.recurrence->convolution = 3;
  // Keys, gates, values and out.
  EXPECT_EQ(recurrence_parameters(4096, *run.recurrence), 4 * 4096 * 4096);
  const auto core = [&](std::int64_t taps) {
    run.recurrence->convolution = taps;
    return value_of(of_runs({run}), degrees_in_node(1, 1, 8)).time.attention.value();
  };
  EXPECT_GT(core(30), core(3));
  EXPECT_EQ(why_impossible(of_runs({run}), one_node(), {8, 8192}, degrees_in_node(2, 2, 2)), "");
  const auto refused = [&](const char* message) {
    try {
      validate(of_runs({run}));
      FAIL() << message;
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr(message));
    }
  };
  run.recurrence->convolution = 0;
  refused("update \"convolve\" has convolution 0 and a gate, expected at least 1 and a gate");
  run.recurrence->value_dim = 2;
  refused("update \"convolve\" has 4096 heads of 2 and 4096 key heads of 1");
}

TEST(Recurrence, of_a_linear_unit_makes_its_shares_with_square_matrices_by_head) {
  LayerRun run;
  run.count = 8;
  run.recurrence = Recurrence{.update = StateUpdate::kLru,
                              .heads = 16,
                              .key_heads = 16,
                              .key_dim = 1,
                              .value_dim = 256,
                              .convolution = 4,
                              .has_gate = true};
  const ModelDescription model = of_runs({run});
  // Values, gates and out of 4096 columns; two matrices of 256 x 256 per head.
  EXPECT_EQ(recurrence_parameters(4096, *run.recurrence), 3 * 4096 * 4096 + 16 * 2 * 256 * 256);
  const auto weights = [&](std::uint32_t tensor) {
    return value_of(model, degrees_in_node(tensor, 1, 8 / tensor)).memory.weights.value();
  };
  EXPECT_EQ(2 * weights(2), weights(1));  // heads are split, with their matrices
  run.recurrence->key_heads = 8;
  EXPECT_THROW(validate(of_runs({run})), InputError);
}

TEST(Recurrence, of_mamba_sums_what_it_makes_of_its_values_over_the_tensor_axis) {
  const auto tensor = [](StateUpdate update) {
    return value_of(of_runs({recurrent(update)}), degrees_in_node(4, 1, 2)).time.tensor.value();
  };
  EXPECT_GT(tensor(StateUpdate::kScan), tensor(StateUpdate::kDecay));
}

TEST(Recurrence, takes_twice_as_long_for_twice_the_tokens_where_attention_takes_four_times) {
  const auto core = [](const LayerRun& run, std::int64_t sequence) {
    const std::int64_t time = value_of(of_runs({run}), degrees_in_node(1, 1, 8), sequence).time.attention.value();
    return static_cast<double>(time);
  };
  for (const StateUpdate update : {StateUpdate::kDecay, StateUpdate::kDelta, StateUpdate::kScan}) {
    EXPECT_NEAR(core(recurrent(update), 16384) / core(recurrent(update), 8192), 2, 1e-6);
  }
  EXPECT_NEAR(core(rwkv(), 16384) / core(rwkv(), 8192), 2, 1e-6);
  EXPECT_NEAR(core(attention_alone(), 16384) / core(attention_alone(), 8192), 4, 1e-6);
}

TEST(Recurrence, core_takes_its_flops_and_bytes) {
  CalibrationProfile profile;
  profile.attention_forward = profile.attention_backward = 0.5;
  const Machines machines = one_node();
  const StrategyValue value = evaluate(of_runs({recurrent(StateUpdate::kDecay)}), machines, {8, 8192, Precision::kBf16},
                                       degrees_in_node(1, 1, 8), profile);
  // Per token: scores of 8 groups and values of 128 heads in chunks of 128, a state of 128 x 8192 in and out.
  const double flops = 2 * 128 * (1024.0 + 8192) + 4 * 128 * 8192.0;
  // Queries, keys, values and results in two bytes, states in four, written and read once per chunk.
  const double bytes = 2 * 2 * (1024.0 + 8192) + 2 * 4 * 128 * 8192.0 / 128;
  const double seconds =
      8192.0 * 8 *
      ((1 + 2.5) * flops / (machines.device.bf16_flops * 0.5) + (1 + 2) * bytes / machines.device.memory_bandwidth);
  EXPECT_NEAR(static_cast<double>(value.time.attention.value()) * 1e-9, seconds, 1e-8);
}

TEST(Recurrence, splits_its_heads_and_keeps_a_head_of_keys_on_each_rank) {
  const ModelDescription model = of_runs({recurrent(StateUpdate::kDecay)});
  const auto weights = [&](std::uint32_t tensor) {
    return value_of(model, degrees_in_node(tensor, 1, 8 / tensor)).memory.weights.value();
  };
  EXPECT_EQ(weights(1), 8 * weights(8));  // 8 groups over 8 ranks; embedding and head split as well
  LayerRun one_group = recurrent(StateUpdate::kDecay);
  one_group.recurrence->key_heads = 1;
  const ModelDescription shared = of_runs({one_group});
  const auto of_shared = [&](std::uint32_t tensor) {
    return value_of(shared, degrees_in_node(tensor, 1, 8 / tensor)).memory.weights.value();
  };
  // Two bytes of each of 4096 x (128 + 128) weights of queries and keys in 8 layers, on all of 2 ranks.
  EXPECT_EQ(2 * of_shared(2) - of_shared(1), 2 * 8 * 4096 * 256);
}

TEST(Recurrence, parts_alone_are_worth_the_layer_of_both) {
  LayerRun both = attention_alone();
  both.mlp = perceptron_alone().mlp;
  both.count = 2;
  const ModelDescription whole = of_runs({both});
  const ModelDescription parts =
      of_runs({attention_alone(), perceptron_alone(), attention_alone(), perceptron_alone()});
  EXPECT_EQ(parameters(whole), parameters(parts));
  for (const Strategy& strategy : {degrees_in_node(1, 1, 8), degrees_in_node(4, 2, 1)}) {
    const StrategyValue a = value_of(whole, strategy);
    const StrategyValue b = value_of(parts, strategy);
    EXPECT_NEAR(static_cast<double>(a.time.step.value()), static_cast<double>(b.time.step.value()), 20);
    EXPECT_NEAR(static_cast<double>(a.memory.total().value()), static_cast<double>(b.memory.total().value()), 20);
  }
}

TEST(Recurrence, exchanges_tokens_for_heads_over_the_context_axis) {
  const ModelDescription model = of_runs({recurrent(StateUpdate::kDelta)});
  EXPECT_EQ(value_of(model, degrees_in_node(1, 1, 8)).time.tensor.value(), 0);
  EXPECT_GT(value_of(model, degrees_in_node(1, 4, 2)).time.tensor.value(), 0);
  LayerRun few = recurrent(StateUpdate::kDelta);
  few.recurrence->heads = few.recurrence->key_heads = 4;
  EXPECT_THAT(why_impossible(of_runs({few}), one_node(), {8, 8192}, degrees_in_node(4, 2, 1)),
              HasSubstr("4 heads of a recurrence cannot be split by tensor x context 8"));
}

TEST(Recurrence, is_refused_by_targets_that_have_none) {
  const TrainingRun run{8, 8192};
  const Strategy strategy = degrees_in_node(1, 1, 8);
  const auto why = [&](Target target, StateUpdate update) {
    return why_inexpressible(target, of_runs({recurrent(update)}), run, strategy);
  };
  EXPECT_EQ(why(Target::kMegatron, StateUpdate::kDelta), "");
  EXPECT_THAT(why(Target::kMegatron, StateUpdate::kScan), HasSubstr("not Mamba's scan"));
  EXPECT_THAT(why(Target::kTorchtitan, StateUpdate::kDecay), HasSubstr("no recurrences"));
  EXPECT_THAT(why_inexpressible(Target::kMegatron, of_runs({rwkv()}), run, strategy), HasSubstr("not RWKV"));
  LayerRun by_column = recurrent(StateUpdate::kDelta);
  by_column.recurrence = kimi();
  EXPECT_THAT(why_inexpressible(Target::kMegatron, of_runs({by_column}), run, strategy),
              HasSubstr("not by column of the keys"));
}

TEST(Recurrence, makes_a_profile_uncalibrated) {
  const auto profile = [](const LayerRun& run) {
    return profile_for(of_runs({run}), one_node(), Precision::kBf16, Target::kMegatron);
  };
  EXPECT_GT(profile(attention_alone()).steps, 0);
  EXPECT_EQ(profile(recurrent(StateUpdate::kDecay)).steps, 0);
}

TEST(Recurrence, reading_what_was_written_is_the_identity) {
  LayerRun beside = recurrent(StateUpdate::kDelta);
  beside.recurrence = kimi();
  beside.attention = attention_alone().attention;
  beside.attention.has_gate = true;
  const ModelDescription model =
      of_runs({recurrent(StateUpdate::kScan), attention_alone(), perceptron_alone(), beside, rwkv()});
  EXPECT_EQ(parse_model(model_to_json(model), "model.json"), model);
}

TEST(Recurrence, a_layer_says_what_it_does_not_have) {
  const auto refusal = [](const std::string& layer) -> std::string {
    try {
      (void)parse_model(
          R"({"format": "opweave.model", "version": 1, "hidden": 64, "vocabulary": 9, "layers": [)" + layer + "]}",
          "model.json");
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refusal(R"({"attention": null, "mlp": {"width": 8}})"), "");
  EXPECT_THAT(refusal(R"({"mlp": {"width": 8}})"), HasSubstr("expected \"attention\" (null in a layer without)"));
  EXPECT_THAT(refusal(R"({"attention": {"heads": 1, "head_dim": 64}})"), HasSubstr("\"mlp\" (null"));
  EXPECT_THAT(refusal(R"({"attention": null, "mlp": null})"), HasSubstr("neither attention, recurrence, mlp"));
  const std::string recurrence = R"({"recurrence": {"update": "UPDATE", "heads": 4, "key_heads": 3, "key_dim": 8,
      "value_dim": 8}, "mlp": null})";
  EXPECT_THAT(refusal(recurrence), HasSubstr("\"decay\", \"delta\", \"scan\", \"average\", \"convolve\" or \"lru\""));
  std::string three = recurrence;
  three.replace(three.find("UPDATE"), 6, "decay");
  EXPECT_THAT(refusal(three), HasSubstr("key_heads is 3, expected a divisor of the 4 heads"));
  std::string average = recurrence;
  average.replace(average.find("UPDATE"), 6, "average").replace(average.find("3, \"key_dim"), 1, "4");
  EXPECT_THAT(refusal(average), HasSubstr("expected a head of width 1 and a key for each column"));
  std::string ranked = three;
  ranked.replace(ranked.find("3, \"key_dim"), 1, "4").replace(ranked.find("8},"), 2, "8, \"gate_rank\": 2}");
  EXPECT_THAT(refusal(ranked), HasSubstr("gate_rank is 2 without a gate"));
}

}  // namespace
}  // namespace opweave
