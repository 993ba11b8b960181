// The page of a strategy: its data, and the page in headless Chromium.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "opweave/strategy_answer.h"
#include "report/python_check.h"

namespace opweave::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// 12 dense layers and 36 with experts, called `name`.
ModelDescription small_mixture(const std::string& name) {
  ModelDescription model;
  model.name = name;
  model.hidden = 4096;
  model.vocabulary = 32000;
  LayerRun dense;
  dense.count = 12;
  dense.attention.heads = dense.attention.kv_heads = 32;
  dense.attention.head_dim = 128;
  dense.mlp.width = 14336;
  LayerRun sparse = dense;
  sparse.count = 36;
  sparse.mlp = {};
  sparse.experts = Experts{.count = 8, .active = 2, .expert = {.width = 4096}};
  model.layers = {dense, sparse};
  return model;
}

struct Searched {
  ModelDescription model;
  Machines machines = machines_named("H100");
  TrainingRun run{64, 4096, Precision::kBf16};
  CalibrationProfile profile;
  StrategySearchResult result;

  explicit Searched(const std::string& name) : model(small_mixture(name)) {
    machines.nodes = 4;
    profile = profile_for(model, machines, run.precision, Target::kMegatron);
    HeldDecisions held;
    held.pipeline = 4;
    result = search_strategies(model, machines, run, profile, Target::kMegatron, held, 8);
  }
  [[nodiscard]] std::string page() const { return strategy_report_html({model, machines, run, profile, result}); }
};

/// A tower of dense layers on a mesh of its own before the mixture.
std::string page_with_tower() {
  ModelDescription model = small_mixture("mixture with a tower");
  LayerRun tower = model.layers.front();
  tower.count = 8;
  tower.component = 0;
  model.components = {{.name = "tower", .hidden = 4096, .tokens = 1024}};
  model.layers.insert(model.layers.begin(), tower);
  Machines machines = machines_named("H100");
  machines.nodes = 4;
  const TrainingRun run{64, 4096, Precision::kBf16};
  const CalibrationProfile profile = profile_for(model, machines, run.precision, Target::kAny);
  HeldDecisions held;
  held.pipeline = 3;
  hold(held, "tower.mesh", "own");
  const StrategySearchResult result = search_strategies(model, machines, run, profile, Target::kAny, held, 2);
  return strategy_report_html({model, machines, run, profile, result});
}

TEST(StrategyPage, stages_hold_all_layers_and_the_fullest_is_the_value) {
  const Searched searched("mixture");
  for (const RankedStrategy& ranked : searched.result.ranked) {
    const auto stages =
        evaluate_stages(searched.model, searched.machines, searched.run, ranked.strategy, searched.profile);
    ASSERT_EQ(stages.size(), 4U);
    double layers = 0;
    Bytes most;
    for (const StageValue& stage : stages) {
      for (const StageValue::Layers& part : stage.layers) layers += part.count;
      most = std::max(most, stage.memory.total());
    }
    EXPECT_NEAR(layers, 48, 1e-6);
    EXPECT_EQ(most, ranked.value.memory.total());
    EXPECT_EQ(stages.at(ranked.value.stage).memory.total(), most);
  }
}

TEST(StrategyPage, no_name_ends_the_data) {
  const Searched searched("</script><b id=\"injected\">&amp;'");
  EXPECT_THAT(searched.page(), HasSubstr("\\u003c/script>"));
  EXPECT_THAT(searched.page(), Not(HasSubstr("</script><b id")));
}

TEST(StrategyPage, works_in_a_browser) {
  const TemporaryFolder folder("strategy-page");
  folder.write("strategy.html", Searched("</script><b id=\"injected\">&amp;'").page());
  folder.write("component.html", page_with_tower());
  std::vector<std::string> arguments = {folder.path("strategy.html"), folder.path("component.html")};
  if (const char* pictures = std::getenv("OPWEAVE_PICTURES")) arguments.emplace_back(pictures);
  run_python_check("strategy_page_check.py", arguments);
}

}  // namespace
}  // namespace opweave::testing
