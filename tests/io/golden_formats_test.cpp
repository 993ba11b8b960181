#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>

#include "io/text_of_any_kind.h"
#include "opweave/problem.h"
#include "support/files.h"

namespace opweave::testing {
namespace {

namespace fs = std::filesystem;

fs::path formats() { return tests_dir() / "golden/formats"; }

TEST(GoldenFormats, files_are_rewritten_to_the_byte) {
  const PlanContext example;
  const PlanContext every_key{parse_graph(content_of(formats() / "every_key.graph.json"), "g"),
                              parse_cluster(content_of(formats() / "every_key.cluster.json"), "c")};
  std::size_t count = 0;
  for (const fs::path& path : files_below(formats())) {
    const std::string name = path.filename().string();
    if (name.find(".pipeline.") != std::string::npos || name.find(".durations.") != std::string::npos) continue;
    const TextKind kind = name.find(".graph.") != std::string::npos     ? TextKind::kGraph
                          : name.find(".cluster.") != std::string::npos ? TextKind::kCluster
                                                                        : TextKind::kPlan;
    const std::string content = content_of(path);
    EXPECT_EQ(read_and_write(kind, content, name, name.rfind("every_key", 0) == 0 ? every_key : example), content);
    ++count;
  }
  EXPECT_EQ(count, 6U);
}

TEST(GoldenFormats, documented_examples_are_the_golden_files) {
  const std::string page = content_of(tests_dir().parent_path() / "docs/formats.md");
  const std::string marker = "<!-- golden: ";
  std::set<std::string> shown;
  for (std::size_t at = page.find(marker); at != std::string::npos; at = page.find(marker, at + 1)) {
    const std::size_t name_begin = at + marker.size();
    const std::string name = page.substr(name_begin, page.find(" -->", at) - name_begin);
    const std::string fence = "```json\n";
    const std::size_t begin = page.find(fence, at) + fence.size();
    const std::size_t end = page.find("```\n", begin);
    ASSERT_NE(end, std::string::npos) << name;
    EXPECT_EQ(page.substr(begin, end - begin), content_of(formats() / name)) << name;
    shown.insert(name);
  }
  EXPECT_EQ(shown, (std::set<std::string>{"measured.durations.json", "three_layers.pipeline.json",
                                          "two_encoders.pipeline.json", "two_gpus.cluster.json", "two_stage.graph.json",
                                          "two_stage.plan.json", "unequal.pipeline.json"}));
}

/// The schedule of the example, recomputed: its statistics, hashes and order follow from it.
TEST(GoldenFormats, example_plan_is_what_its_schedule_gives) {
  const PlanContext example;
  const std::string content = content_of(formats() / "two_stage.plan.json");
  const Plan plan = parse_plan(content, "plan.json", example.graph, example.cluster);
  const Problem problem = Problem::create(example.graph, example.cluster);
  Provenance provenance = plan.provenance;
  provenance.graph_hash = content_hash(example.graph);
  provenance.cluster_hash = content_hash(example.cluster);
  const Plan again = make_plan(problem, to_schedule(problem, plan), plan.bounds, provenance);
  EXPECT_EQ(plan_to_json(again, example.graph, example.cluster), content);
  // On gpu1 every microbatch needs 200 + 250 ns of the compute stream. The first can begin after embed.F, a transfer
  // of h (2 x 5 + 10) and route.F; after the last come a transfer of dh, embed.B and embed.O.
  EXPECT_EQ(plan.statistics.makespan, Duration(100 + 20 + 40 + 2 * 450 + 20 + 150 + 20));
}

TEST(GoldenFormats, reader_returns_what_the_example_says) {
  const PlanContext example;
  const Operator& head = example.graph.operators()[2];
  EXPECT_EQ(head.name, "head.F");
  EXPECT_EQ(head.phase, Phase::kForward);
  ASSERT_EQ(head.durations.size(), 2U);
  EXPECT_EQ(head.durations[0].device_type, "fast");
  EXPECT_EQ(head.durations[1].duration, Duration(300));
  EXPECT_EQ(head.inputs, std::vector<TensorId>{TensorId(3)});
  EXPECT_EQ(head.workspace, Bytes(128));
  EXPECT_EQ(head.colocation, "head");
  EXPECT_EQ(head.stage, StageId(1));
  EXPECT_EQ(example.graph.operators()[1].streams, std::vector<std::string>{"comm"});
  EXPECT_EQ(example.graph.operators()[4].modes[1].devices, std::vector<std::string>{"gpu1"});
  EXPECT_EQ(example.graph.operators()[6].after, std::vector<OperatorId>{OperatorId(5)});
  EXPECT_EQ(example.graph.training().microbatches, 2U);
  EXPECT_EQ(example.graph.training().optimizer_bytes_per_weight_byte, 6);
  EXPECT_EQ(example.cluster.contention(), Contention::kLink);
  EXPECT_EQ(example.cluster.devices()[0].memory, Bytes(65536));
  EXPECT_EQ(example.cluster.types()[0].peak_flops_per_s.at("fp32"), 1e12);
  EXPECT_EQ(example.cluster.links()[1].bandwidth_bytes_per_s, 100'000'000'000);
  EXPECT_FALSE(example.cluster.parts().default_link->full_duplex);
  EXPECT_FALSE(example.cluster.devices()[2].memory.has_value());
}

TEST(GoldenFormats, pipeline_reader_knows_types_of_devices_and_scales_of_microbatches) {
  const PipelineSpec spec = parse_pipeline_spec(content_of(formats() / "unequal.pipeline.json"), "spec");
  ASSERT_EQ(spec.microbatch_scales.size(), 3U);
  EXPECT_EQ(spec.microbatch_scales[0].duration, 1.5);
  EXPECT_EQ(spec.microbatch_scales[0].bytes, 1.25);
  EXPECT_EQ(spec.microbatch_scales[1].duration, 1);
  EXPECT_EQ(spec.microbatch_scales[2].bytes, 1);
  const LayerOperator& op = spec.layers[2].operators[0];
  EXPECT_EQ(op.forward->on("fast"), Duration(100));
  EXPECT_EQ(op.forward->on("old"), Duration(250));
  EXPECT_EQ(op.forward->on(""), Duration(250));
  EXPECT_EQ(op.weight_gradient->on("fast"), Duration(30));
}

TEST(GoldenFormats, pipeline_reader_returns_what_the_example_says) {
  const PipelineSpec spec = parse_pipeline_spec(content_of(formats() / "three_layers.pipeline.json"), "spec");
  EXPECT_EQ(spec.name, "three_layers");
  EXPECT_EQ(spec.training.microbatches, 4U);
  ASSERT_EQ(spec.layers.size(), 3U);
  EXPECT_EQ(spec.layers[0].name, "block.0");
  EXPECT_EQ(spec.layers[2].name, "head");
  const Layer& block = spec.layers[1];
  EXPECT_EQ(block.name, "block.1");
  EXPECT_EQ(block.weights, Bytes(4000));
  EXPECT_EQ(block.activation, Bytes(900));
  EXPECT_EQ(block.activation_until_input_gradient, Bytes(100));
  EXPECT_EQ(block.weight_gradient_input, Bytes(50));
  EXPECT_EQ(block.output, Bytes(300));
  ASSERT_EQ(block.operators.size(), 2U);
  EXPECT_EQ(block.operators[0].forward->on(""), Duration(100));
  EXPECT_EQ(block.operators[0].input_gradient->on(""), Duration(150));
  EXPECT_EQ(block.operators[0].weight_gradient->on(""), Duration(40));
  EXPECT_EQ(block.operators[1].streams, std::vector<std::string>{"comm"});
  EXPECT_FALSE(block.operators[1].weight_gradient.has_value());
}

TEST(GoldenFormats, durations_reader_lets_a_task_go_before_its_operator) {
  const PlanContext example;
  const Problem problem = Problem::create(example.graph, example.cluster);
  const Schedule schedule = to_schedule(problem, example_plan(example));
  const std::vector<Duration> durations =
      parse_durations(content_of(formats() / "measured.durations.json"), "measured", problem, schedule);
  const auto of = [&](std::size_t op, std::uint32_t copy) {
    return durations.at(problem.task_of(OperatorId(op), copy).index());
  };
  EXPECT_EQ(of(2, 0), Duration(210));  // head.F
  EXPECT_EQ(of(2, 1), Duration(205));
  EXPECT_EQ(of(1, 1), Duration(44));   // route.F
  EXPECT_EQ(of(0, 0), Duration(100));  // not named: as planned
}

}  // namespace
}  // namespace opweave::testing
