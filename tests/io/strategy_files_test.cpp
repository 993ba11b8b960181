// Strategies in the words of others: layouts as Megatron-LM reads them, and what a framework has no word for.
#include "opweave/strategy_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "opweave/error.h"
#include "opweave/strategy_targets.h"

namespace opweave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(MegatronLayout, layouts_of_every_kind_are_read) {
  // Commas, repeats of letters and of stages, empty stages; in Megatron's order: parentheses first, then letters.
  EXPECT_THAT(parse_megatron_layout("EtL"), ElementsAre("EtL"));
  EXPECT_THAT(parse_megatron_layout("Et*3|(tt|)*3,m|L"), ElementsAre("Ettt", "tt", "tt", "tt", "m", "L"));
  EXPECT_THAT(parse_megatron_layout("E||t|,|L"), ElementsAre("E", "", "t", "", "L"));
  EXPECT_THAT(parse_megatron_layout("(|t)*2,L"), ElementsAre("", "t", "tL"));
  EXPECT_THAT(parse_megatron_layout("E(t|)*0L"), ElementsAre("EL"));
  EXPECT_THAT(parse_megatron_layout("E|*3tL"), ElementsAre("E", "", "", "tL"));
  EXPECT_THAT(parse_megatron_layout("Et*4|(t*7|)*5t*8|tmL"),
              ElementsAre("Etttt", "ttttttt", "ttttttt", "ttttttt", "ttttttt", "ttttttt", "tttttttt", "tmL"));
}

TEST(MegatronLayout, letters_that_it_does_not_know_are_named) {
  EXPECT_THROW((void)parse_megatron_layout("Ex|L"), InputError);
  EXPECT_THROW((void)parse_megatron_layout("E(t|L"), InputError);  // a parenthesis that nothing closes
  EXPECT_THROW((void)parse_megatron_layout("Et*99999999999999999999L"), InputError);
  EXPECT_THROW((void)parse_megatron_layout("E(t*1000|)*10000L"), InputError);  // ten million letters
  EXPECT_THROW((void)parse_megatron_layout("E(t*10|)*9999999L"), InputError);
}

TEST(MegatronLayout, what_is_written_is_read_as_the_same_stages) {
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> stages(1 + random() % 12);
    for (auto& stage : stages) stage = std::string(random() % 4 == 0 ? random() % 9 : random() % 2, 't');
    stages.front().insert(0, "E");
    stages.back() += random() % 3 == 0 ? "mmL" : "L";
    EXPECT_EQ(parse_megatron_layout(megatron_layout(stages)), stages) << megatron_layout(stages);
  }
  EXPECT_EQ(megatron_layout({"Et", "tt", "tt", "tt", "tL"}), "Et|(t*2|)*3tL");
}

/// 10 layers of 8 heads over 4 groups.
ModelDescription small_model() {
  return parse_model(R"({"format": "opweave.model", "version": 1, "hidden": 64, "vocabulary": 1000, "layers": [
    {"count": 10, "attention": {"heads": 8, "kv_heads": 4, "head_dim": 8}, "mlp": {"width": 256}}]})",
                     "model");
}

Strategy pipeline(std::uint32_t ranks, std::uint32_t chunks) {
  Strategy strategy;
  strategy.pipeline = ranks;
  strategy.chunks = chunks;
  if (chunks > 1) strategy.schedule = PipelineKind::kInterleaved;
  return strategy;
}

TEST(StrategyFiles, layers_of_a_rank_are_shared_out_among_its_chunks) {
  // 10 layers on 2 x 2 stages: one less beside the embedding and the head; on 4 x 2 the earlier have the more.
  EXPECT_THAT(layers_of_stages(small_model(), pipeline(2, 2)), ElementsAre(2, 3, 3, 2));
  EXPECT_THAT(layers_of_stages(small_model(), pipeline(4, 2)), ElementsAre(2, 2, 1, 1, 1, 1, 1, 1));
  // Ranks of 7 and 3 layers: 4 and 2, then 3 and 1.
  Strategy uneven = pipeline(2, 2);
  uneven.layers_per_stage = {7, 3};
  EXPECT_THAT(layers_of_stages(small_model(), uneven), ElementsAre(4, 2, 3, 1));
  const TrainingRun run{8, 128, Precision::kBf16};
  EXPECT_THAT(strategy_file(StrategyFormat::kMegatron, small_model(), run, uneven),
              HasSubstr("--pipeline-model-parallel-layout 'Et*4|t*2|t*3|tL'"));
}

TEST(StrategyFiles, what_a_framework_has_no_word_for_is_refused_with_the_reason) {
  const TrainingRun run{8, 128, Precision::kBf16};
  const auto why = [&](Target target, const Strategy& s) { return why_inexpressible(target, small_model(), run, s); };
  Strategy zero_bubble = pipeline(2, 1);
  zero_bubble.schedule = PipelineKind::kZeroBubble1;
  EXPECT_THAT(why(Target::kMegatron, zero_bubble), HasSubstr("schedule is ZB1P"));
  EXPECT_EQ(why(Target::kTorchtitan, zero_bubble), "");
  EXPECT_EQ(why(Target::kAny, zero_bubble), "");
  Strategy groups = pipeline(3, 2);  // 8 microbatches in groups of 3
  EXPECT_THAT(why(Target::kMegatron, groups), HasSubstr("8 microbatches are no multiple of pipeline 3"));
  Strategy recompute = pipeline(2, 2);
  recompute.recompute = Recompute::kFull;
  recompute.recomputed_layers = 3;
  EXPECT_THAT(why(Target::kMegatron, recompute), HasSubstr("3 layers of a stage are made again"));
  EXPECT_THAT(why(Target::kTorchtitan, recompute), HasSubstr("all layers again or none"));
  Strategy modules;
  modules.recompute = Recompute::kSelective;
  modules.recomputed_modules = {LayerModule::kAlternateProducts};
  EXPECT_THAT(why(Target::kMegatron, modules), HasSubstr("selective_ac is torchtitan's"));
  EXPECT_EQ(why(Target::kTorchtitan, modules), "");
  modules.recomputed_modules = {LayerModule::kPerceptron};
  EXPECT_THAT(why(Target::kTorchtitan, modules), HasSubstr("not that of mlp"));
  modules.activation_offload = 0.5;
  EXPECT_EQ(why(Target::kMegatron, modules), "");
  const std::string arguments = strategy_file(StrategyFormat::kMegatron, small_model(), run, modules);
  EXPECT_THAT(arguments, HasSubstr("--recompute-granularity selective"));
  EXPECT_THAT(arguments, HasSubstr("--activation-offload-fraction 0.5"));
  modules.recompute = Recompute::kNone;
  modules.recomputed_modules = {};
  EXPECT_THAT(why(Target::kMegatron, modules), HasSubstr("moves nothing of a dense perceptron to the host"));
  EXPECT_THAT(why(Target::kTorchtitan, modules), HasSubstr("keeps activations on the device"));
  Strategy stages = pipeline(2, 1);
  stages.offload_per_stage = {0, 1};
  EXPECT_THAT(why(Target::kMegatron, stages), HasSubstr("keeps the same on all stages: offload_per_stage is set"));
  Strategy batch;
  batch.data = 3;
  EXPECT_THAT(why(Target::kMegatron, batch), HasSubstr("a batch of 8 is no multiple of data 3 x microbatch 1"));
  Strategy sharded;
  sharded.data = 8;
  sharded.sharding = Sharding::kOptimizer;
  EXPECT_THAT(why(Target::kTorchtitan, sharded), HasSubstr("not the states alone"));
  EXPECT_EQ(why(Target::kMegatron, sharded), "");
  sharded.tensor = 2;
  sharded.data = 4;
  EXPECT_THROW((void)strategy_file(StrategyFormat::kDeepSpeed, small_model(), run, sharded), InputError);
}

TEST(StrategyFiles, modules_that_predict_ahead_are_layers_of_their_own) {
  const ModelDescription model = parse_model(R"({"format": "opweave.model", "version": 1, "hidden": 64,
    "vocabulary": 1000, "layers": [
    {"count": 6, "attention": {"heads": 8, "head_dim": 8}, "experts": {"count": 4, "active": 2, "width": 32}},
    {"attention": {"heads": 8, "head_dim": 8}, "experts": {"count": 4, "active": 2, "width": 32},
     "predicts_ahead": true}]})",
                                             "model");
  const TrainingRun run{8, 128, Precision::kBf16};
  // 7 layers on two ranks, the earlier the more: four, then two and the module.
  const std::string text = strategy_file(StrategyFormat::kMegatron, model, run, pipeline(2, 1));
  EXPECT_THAT(text, HasSubstr("--num-layers 6\n  --mtp-num-layers 1\n  --position-embedding-type rope\n"));
  EXPECT_THAT(text, HasSubstr("--pipeline-model-parallel-layout 'Et*4|t*2mL'"));
  EXPECT_THAT(why_inexpressible(Target::kTorchtitan, model, run, pipeline(2, 1)), HasSubstr("predicts further ahead"));
}

TEST(StrategyFiles, models_that_others_feed_are_refused) {
  const ModelDescription model = parse_model(R"({"format": "opweave.model", "version": 1, "hidden": 64,
    "vocabulary": 1000, "components": [{"name": "vision", "hidden": 32}], "layers": [
    {"component": "vision", "attention": {"heads": 4, "head_dim": 8}, "mlp": {"width": 64}},
    {"attention": {"heads": 8, "head_dim": 8}, "mlp": {"width": 256}}]})",
                                             "model");
  for (const Target target : {Target::kMegatron, Target::kTorchtitan}) {
    EXPECT_THAT(why_inexpressible(target, model, {8, 128, Precision::kBf16}, {}), HasSubstr("component \"vision\""));
  }
}

TEST(StrategyFiles, deepspeed_accumulates_what_the_data_axis_does_not_run_at_once) {
  Strategy strategy;
  strategy.data = 2;
  strategy.micro_batch = 2;
  strategy.sharding = Sharding::kGradients;
  const std::string text =
      strategy_file(StrategyFormat::kDeepSpeed, small_model(), {8, 128, Precision::kBf16}, strategy);
  EXPECT_THAT(text, HasSubstr("\"gradient_accumulation_steps\": 2"));  // 8 = 2 ranks x 2 sequences x 2
  EXPECT_THAT(text, HasSubstr("\"stage\": 2"));
}

TEST(StrategyFiles, layers_that_differ_are_said_layer_by_layer_or_refused) {
  const auto file = [](const char* layers) {
    const std::string model =
        R"({"format": "opweave.model", "version": 1, "hidden": 64, "vocabulary": 1000, "layers": [)" +
        std::string(layers) + "]}";
    return strategy_file(StrategyFormat::kMegatron, parse_model(model, "model"), {8, 128, Precision::kBf16}, {});
  };
  const std::string text = file(
      R"({"count": 2, "attention": {"heads": 8, "head_dim": 8, "window": 16}, "mlp": {"width": 256}},
         {"count": 3, "attention": {"heads": 8, "head_dim": 8}, "experts": {"count": 4, "active": 2, "width": 32}})");
  EXPECT_THAT(text, HasSubstr("--window-size 16,0"));
  EXPECT_THAT(text, HasSubstr("--window-attn-skip-freq '([1]*2+[0]*3)'"));
  EXPECT_THAT(text, HasSubstr("--moe-layer-freq '([0]*2+[1]*3)'"));
  EXPECT_THROW((void)file(R"({"attention": {"heads": 8, "head_dim": 8}, "mlp": {"width": 256}},
                             {"attention": {"heads": 4, "head_dim": 8}, "mlp": {"width": 256}})"),
               InputError);
  EXPECT_THROW((void)file(R"({"attention": {"heads": 8, "head_dim": 8, "causal": false}, "mlp": {"width": 256}})"),
               InputError);
}

}  // namespace
}  // namespace opweave
