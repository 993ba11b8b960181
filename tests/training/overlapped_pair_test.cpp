// The pair costs of others' table: F 1, I 1.27, W 0.31, a pair 1.675 of the sum 2.58.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "opweave/check.h"
#include "opweave/experts.h"
#include "opweave/io.h"
#include "support/data_dir.h"

namespace opweave {
namespace {

constexpr double kUnit = 1e6;  // ns per forward of a full stage

/// Stages of a scenario of the table on a placement, written as a specification and read back.
Problem problem_of(const nlohmann::json& scenario, PipelineShape shape) {
  const auto devices = scenario.at("devices").get<std::uint32_t>();
  const std::uint32_t chunks = shape == PipelineShape::kV ? 2 : 1;
  const auto& costs = scenario.at("stage_costs");
  const auto part = [&](const char* name) { return std::llround(costs.at(name).get<double>() * kUnit / chunks); };
  const nlohmann::json layer = {{"name", "stage"},
                                {"repeat", chunks * devices},
                                {"overlapped_pair_ns", part("pair")},
                                {"operators",
                                 {{{"name", "op"},
                                   {"forward_ns", part("F")},
                                   {"input_gradient_ns", part("I")},
                                   {"weight_gradient_ns", part("W")}}}}};
  const nlohmann::json document = {{"format", "opweave.pipeline"}, {"version", 1}, {"layers", {layer}}};
  PipelineSpec spec = parse_pipeline_spec(document.dump(), "spec");
  spec.shape = shape;
  spec.training.microbatches = scenario.at("microbatches").get<std::uint32_t>();
  spec.training.replicas = shape == PipelineShape::kTwoWay ? 2 : 1;
  for (std::uint32_t device = 0; device < devices; ++device) spec.devices.push_back("gpu" + std::to_string(device));
  const Duration hop(std::llround(scenario.at("hop_latency").get<double>() * kUnit));
  return Problem::create(build_pipeline(spec), uniform_cluster(devices, {"compute", "forward"}, std::nullopt, hop));
}

TEST(OverlappedPair, dual_pipe_takes_what_the_table_of_others_says) {
  const auto folder = testing::data_dir();
  if (!folder) GTEST_SKIP() << "OPWEAVE_DATA names no folder with pipelines/experts.json";
  std::ifstream file(*folder / "pipelines" / "experts.json");
  const auto table = nlohmann::json::parse(file);
  int rows = 0;
  for (const auto& scenario : table.at("cases")) {
    if (!scenario.at("stage_costs").contains("pair")) continue;
    for (const auto& row : scenario.at("experts")) {
      if (row.value("pair_mode", "") != "atomic") continue;
      const PipelineShape shape = row.at("placement") == "V" ? PipelineShape::kV : PipelineShape::kTwoWay;
      const Problem problem = problem_of(scenario, shape);
      for (const ExpertPlan& plan : expert_plans(problem)) {
        if (plan.name != row.at("schedule").get<std::string>()) continue;
        EXPECT_NEAR(static_cast<double>(plan.schedule.makespan(problem).value()) / kUnit,
                    row.at("makespan").get<double>(), 1e-4)
            << plan.name << " " << scenario.at("id");
        ++rows;
      }
    }
  }
  EXPECT_EQ(rows, 12);
}

TEST(OverlappedPair, forwards_hide_behind_backwards_alone) {
  // F 10, I 12, W 8, a pair 22: 8 of F are hidden, 2 are not. Alone nothing changes.
  const auto read = [](const std::string& pair) {
    return parse_pipeline_spec(R"({"format": "opweave.pipeline", "version": 1, "layers": [{"name": "a",
      "overlapped_pair_ns": )" + pair +
                                   R"(, "operators": [{"name": "op", "forward_ns": 10, "input_gradient_ns": 12,
      "weight_gradient_ns": 8}]}]})",
                               "spec");
  };
  const Layer layer = read("22").layers.front();
  ASSERT_EQ(layer.operators.size(), 3U);
  EXPECT_EQ(layer.operators[0].forward->on(""), Duration(8));
  EXPECT_EQ(layer.operators[0].streams, std::vector<std::string>({"forward"}));
  EXPECT_EQ(layer.operators[1].forward->on(""), Duration(2));
  EXPECT_EQ(layer.operators[1].streams, std::vector<std::string>({"compute", "forward"}));
  EXPECT_EQ(layer.operators[2].forward, std::nullopt);
  EXPECT_EQ(layer.operators[2].input_gradient->on(""), Duration(12));
  EXPECT_EQ(read("30").layers.front().operators[0].forward->on(""), Duration(0)) << "nothing is saved";
  EXPECT_EQ(read("20").layers.front().operators[0].forward->on(""), Duration(10)) << "F is hidden as a whole";
}

}  // namespace
}  // namespace opweave
