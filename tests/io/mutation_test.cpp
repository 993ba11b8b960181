#include <gtest/gtest.h>

#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "io/mutator.h"
#include "io/text_of_any_kind.h"
#include "opweave/error.h"
#include "support/files.h"

namespace opweave::testing {
namespace {

struct Seed {
  TextKind kind;
  std::string text;
  PlanContext context;
};

std::vector<Seed> files_to_mutate() {
  const auto folder = tests_dir() / "golden/formats";
  const auto file = [&](const char* name) { return content_of(folder / name); };
  const PlanContext example;
  const PlanContext every_key{parse_graph(file("every_key.graph.json"), "g"),
                              parse_cluster(file("every_key.cluster.json"), "c")};
  const std::string fjs = "3 2 1.5\n2 1 1 5 2 2 7 1 4\n1 1 2 0\n3 2 1 3 2 4 1 1 9 1 2 8\n";
  const std::string msr = R"({"maxSizePerFPGA": 100.5, "maxFPGAs": 2, "maxCPUs": 1, "nodes": [
    {"id": 4, "supportedOnFpga": true, "cpuLatency": 10, "fpgaLatency": 1, "isBackwardNode": 0, "size": 60, "name": "a"},
    {"id": 7, "supportedOnFpga": 1, "cpuLatency": 20, "fpgaLatency": 2, "isBackwardNode": false, "colorClass": 1},
    {"id": 9, "supportedOnFpga": 0, "cpuLatency": 30, "fpgaLatency": 3.5, "isBackwardNode": 1, "colorClass": 1}],
    "edges": [{"sourceId": 4, "destId": 7, "cost": 0.5}, {"sourceId": 7, "destId": 9, "cost": 0.25}]})";
  return {{TextKind::kGraph, file("two_stage.graph.json"), example},
          {TextKind::kGraph, file("every_key.graph.json"), example},
          {TextKind::kCluster, file("two_gpus.cluster.json"), example},
          {TextKind::kCluster, file("every_key.cluster.json"), example},
          {TextKind::kPlan, file("two_stage.plan.json"), example},
          {TextKind::kPlan, file("every_key.plan.json"), every_key},
          {TextKind::kFjs, fjs, example},
          {TextKind::kJsp, "# ours\n2 3\n0 3 2 1 1 2\n1 5 0 4 2 9\n", example},
          {TextKind::kMsr, msr, example},
          {TextKind::kPipeline, file("three_layers.pipeline.json"), example},
          {TextKind::kPipeline, file("unequal.pipeline.json"), example},
          {TextKind::kDurations, file("measured.durations.json"), example}};
}

TEST(Mutation, damaged_files_are_read_or_refused_in_one_clean_line) {
  constexpr std::size_t kMutations = 10'000;
  const std::vector<Seed> originals = files_to_mutate();
  std::size_t accepted = 0;
  std::size_t syntax_errors = 0;
  std::size_t other_errors = 0;
  for (std::size_t i = 0; i < kMutations; ++i) {
    const Seed& seed = originals[i % originals.size()];
    const std::string text = Mutator(i).mutate(seed.text, originals[(i / originals.size()) % originals.size()].text);
    std::string rewritten;
    try {
      rewritten = read_and_write(seed.kind, text, "file\n.json", seed.context);
    } catch (const InputError& error) {
      const std::string_view line = error.what();
      ++(line.find(": line ") == std::string_view::npos ? other_errors : syntax_errors);
      ASSERT_TRUE(is_one_clean_line(line)) << i << ": " << line;
      ASSERT_TRUE(is_one_clean_line(error.hint())) << i << ": " << error.hint();
      ASSERT_EQ(line.rfind("file\\n.json: ", 0), 0U) << i << ": " << line;
      ASSERT_LT(line.size(), 1100U) << i;
      continue;
    }
    ++accepted;
    // What was accepted is written in the format that it was written in, and read as the same.
    if (seed.kind == TextKind::kGraph || seed.kind == TextKind::kCluster || seed.kind == TextKind::kPlan) {
      ASSERT_EQ(read_and_write(seed.kind, rewritten, "again", seed.context), rewritten) << i;
    }
  }
  // All depths are reached: the mutations are neither harmless nor hopeless.
  EXPECT_GT(accepted, kMutations / 50);
  EXPECT_GT(syntax_errors, kMutations / 10);
  EXPECT_GT(other_errors, kMutations / 10);
  std::cout << accepted << " accepted, " << syntax_errors << " syntax errors, " << other_errors << " other errors\n";
}

}  // namespace
}  // namespace opweave::testing
