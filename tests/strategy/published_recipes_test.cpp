#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "opweave/strategy_search.h"
#include "opweave/strategy_targets.h"
#include "support/source_dir.h"

namespace opweave {
namespace {

std::string text_of(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

/// A recipe of examples/strategies, and what the search is asked for.
struct Case {
  ModelDescription model;
  Machines machines;
  TrainingRun run;
  Strategy recipe;
  Target target;
};

Case case_of(const nlohmann::json& row) {
  const std::filesystem::path folder = testing::source_dir() / "examples/strategies";
  const std::string name = row.at("model").get<std::string>() + ".json";
  Case result;
  result.model = parse_hf_config(text_of(folder / name), name);
  result.machines = machines_named(row.at("cluster").get<std::string>());
  result.machines.nodes = row.at("nodes").get<std::uint32_t>();
  result.run.global_batch = row.at("global_batch").get<std::int64_t>();
  result.run.sequence = row.at("sequence").get<std::int64_t>();
  result.run.has_bf16_gradients = row.value("bf16_gradients", false);
  result.recipe = parse_strategy(text_of(folder / "recipes" / name), name);
  // What Megatron cannot say is not compared with what it can.
  const bool is_said = why_inexpressible(Target::kMegatron, result.model, result.run, result.recipe).empty();
  result.target = is_said && result.recipe.sharding != Sharding::kWeights ? Target::kMegatron : Target::kAny;
  return result;
}

std::vector<Case> cases() {
  std::vector<Case> result;
  const auto rows = nlohmann::json::parse(text_of(testing::source_dir() / "examples/strategies/recipes.json"));
  for (const nlohmann::json& row : rows) result.push_back(case_of(row));
  return result;
}

TEST(PublishedRecipes, are_never_better_than_what_the_search_finds) {
  std::size_t compared = 0;
  for (const Case& one : cases()) {
    SCOPED_TRACE(one.model.name + " on " + std::to_string(one.machines.devices()));
    const CalibrationProfile profile = profile_for(one.model, one.machines, one.run.precision, one.target);
    ASSERT_EQ(why_impossible(one.model, one.machines, one.run, one.recipe), "");
    const StrategyValue recipe = evaluate(one.model, one.machines, one.run, one.recipe, profile);
    if (!recipe.fits) continue;
    const Budget budget(60, std::nullopt);
    const StrategySearchResult found =
        search_strategies(one.model, one.machines, one.run, profile, one.target, {}, 1, budget);
    ASSERT_FALSE(found.ranked.empty());
    EXPECT_LE(found.ranked.front().value.time.step, recipe.time.step);
    ++compared;
  }
  EXPECT_GE(compared, 4U);
}

TEST(PublishedRecipes, held_degrees_find_layers_no_worse_than_theirs) {
  for (const Case& one : cases()) {
    SCOPED_TRACE(one.model.name + " on " + std::to_string(one.machines.devices()));
    const CalibrationProfile profile = profile_for(one.model, one.machines, one.run.precision, one.target);
    // More memory, so that recipes that are predicted not to fit are compared as well.
    Machines roomy = one.machines;
    roomy.device.memory = Bytes(2 * roomy.device.memory.value());
    HeldDecisions held;
    held.tensor = one.recipe.tensor;
    held.context = one.recipe.context;
    held.pipeline = one.recipe.pipeline;
    held.chunks = one.recipe.chunks;
    held.expert = one.recipe.expert;
    held.micro_batch = one.recipe.micro_batch;
    const StrategyValue recipe = evaluate(one.model, roomy, one.run, one.recipe, profile);
    ASSERT_TRUE(recipe.fits);
    const auto found = search_strategies(one.model, roomy, one.run, profile, one.target, held, 1);
    ASSERT_FALSE(found.ranked.empty());
    EXPECT_LE(found.ranked.front().value.time.step, recipe.time.step);
  }
}

TEST(PublishedRecipes, have_whole_layers_on_every_stage) {
  ModelDescription model;
  model.layers.resize(1);
  model.layers.front().count = 126;
  Strategy strategy;
  strategy.pipeline = 8;
  strategy.chunks = 8;
  std::vector<std::uint32_t> of_rank(8);
  const std::vector<std::uint32_t> stages = layers_of_stages(model, strategy);
  for (std::size_t stage = 0; stage < stages.size(); ++stage) of_rank[stage % 8] += stages[stage];
  // 64 stages of two layers, one less beside the embedding and one less beside the head.
  EXPECT_EQ(of_rank, (std::vector<std::uint32_t>{15, 16, 16, 16, 16, 16, 16, 15}));
  strategy.pipeline = 16;  // 128 stages: embedding and head alone
  const std::vector<std::uint32_t> alone = layers_of_stages(model, strategy);
  EXPECT_EQ(alone.front(), 0U);
  EXPECT_EQ(alone.back(), 0U);
  EXPECT_EQ(std::ranges::count(alone, 1U), 126);
}

}  // namespace
}  // namespace opweave
