#include "placement/branch_placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "opweave/pipeline.h"

namespace opweave {
namespace {

using ::testing::ElementsAre;

struct BranchSpec {
  std::string name;
  std::uint32_t layers;
  std::int64_t forward;
  std::vector<ComponentInput> inputs;
};

Problem branched(const std::vector<BranchSpec>& branches, std::uint32_t devices, std::uint32_t replicas = 1) {
  PipelineSpec spec;
  spec.name = "branched";
  spec.shape = PipelineShape::kFree;
  for (const BranchSpec& branch : branches) {
    for (std::uint32_t i = 0; i < branch.layers; ++i) {
      Layer layer;
      layer.name = branch.name + std::to_string(i);
      const Duration time(branch.forward);
      layer.operators = {{"op", "", {"compute"}, time, time, time}};
      spec.layers.push_back(layer);
    }
    spec.components.push_back({branch.name, branch.layers, branch.inputs, {}});
  }
  spec.training.microbatches = 2;
  spec.training.replicas = replicas;
  return Problem::create(build_pipeline(spec), uniform_cluster(devices, {"compute"}, std::nullopt, Duration(0)));
}

/// Device of each layer for a microbatch, in the order of the specification.
std::vector<std::size_t> devices_of_layers(const Problem& problem, const std::vector<ModeIndex>& modes,
                                           std::uint32_t microbatch = 0) {
  std::map<StageId, std::size_t> device;
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    if (problem.task(TaskId(t)).copy != microbatch) continue;
    device[*problem.op(TaskId(t)).stage] = problem.mode(TaskId(t), modes[t]).devices.front().index();
  }
  std::vector<std::size_t> result;
  for (const auto& [stage, index] : device) result.push_back(index);
  return result;
}

TEST(BranchPlacement, branches_apart_have_devices_by_their_work) {
  // Towers of 4 and 2 equal layers on 3 devices: two devices and one, 2 layers each. The loss is less than half of that
  // and goes to the device with least work, which are all alike: the first.
  const Problem problem = branched({{"a", 4, 10, {}}, {"b", 2, 10, {}}, {"loss", 1, 1, {{0, {}}, {1, {}}}}}, 3);
  const auto modes = branch_placement(problem, BranchLayout::kApart);
  ASSERT_TRUE(modes);
  EXPECT_THAT(devices_of_layers(problem, *modes), ElementsAre(0, 0, 1, 1, 2, 2, 0));
}

TEST(BranchPlacement, spread_branches_give_every_device_its_share_of_each) {
  // a: 4 layers over 2 devices, upwards. b, the finer branch: downwards. The loss has fewer layers than devices and
  // goes where least work is.
  const Problem problem = branched({{"a", 4, 10, {}}, {"b", 2, 9, {}}, {"loss", 1, 1, {{0, {}}, {1, {}}}}}, 2);
  const auto modes = branch_placement(problem, BranchLayout::kSpread);
  ASSERT_TRUE(modes);
  EXPECT_THAT(devices_of_layers(problem, *modes), ElementsAre(0, 0, 1, 1, 1, 0, 0));
}

TEST(BranchPlacement, finer_branch_levels_what_a_coarse_one_leaves_uneven) {
  // a: 3 layers of 10 on 2 devices, 2 and 1 (the middle of the second layer falls on half of the branch). b: 10 layers
  // of 1; 40 in all, so device 0 lacks 0 and device 1 lacks 10.
  const Problem problem = branched({{"a", 3, 10, {}}, {"b", 10, 1, {}}, {"loss", 2, 0, {{0, {}}, {1, {}}}}}, 2);
  const auto modes = branch_placement(problem, BranchLayout::kSpread);
  ASSERT_TRUE(modes);
  std::vector<std::size_t> devices = devices_of_layers(problem, *modes);
  devices.resize(13);
  EXPECT_THAT(devices, ElementsAre(0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1));
}

TEST(BranchPlacement, branch_begins_where_the_one_before_it_ends) {
  // a is the heavier of two that begin, so it goes up and t down; b comes after them and goes down again.
  const Problem problem = branched({{"a", 2, 10, {}}, {"t", 2, 5, {}}, {"b", 2, 10, {{0, {}}, {1, {}}}}}, 2);
  const auto modes = branch_placement(problem, BranchLayout::kSpread);
  ASSERT_TRUE(modes);
  EXPECT_THAT(devices_of_layers(problem, *modes), ElementsAre(0, 1, 1, 0, 1, 0));
}

TEST(BranchPlacement, rounds_of_a_branch_go_up_and_down_in_turn) {
  // Two rounds of 4 layers on 2 devices: up and down. t has fewer layers than devices: where least work is.
  const Problem problem = branched({{"a", 4, 10, {}}, {"t", 1, 5, {}}, {"b", 4, 10, {{0, {}}, {1, {}}}}}, 2);
  const auto modes = branch_placement(problem, BranchLayout::kSpread, 2);
  ASSERT_TRUE(modes);
  EXPECT_THAT(devices_of_layers(problem, *modes), ElementsAre(0, 1, 1, 0, 0, 1, 0, 0, 1));
  EXPECT_FALSE(branch_placement(problem, BranchLayout::kSpread, 3));  // no branch has 6 layers
}

TEST(BranchPlacement, second_replica_runs_the_other_way_round) {
  const Problem problem = branched({{"a", 4, 10, {}}, {"b", 2, 10, {}}, {"loss", 1, 1, {{0, {}}, {1, {}}}}}, 3, 2);
  const auto modes = branch_placement(problem, BranchLayout::kApart);
  ASSERT_TRUE(modes);
  EXPECT_THAT(devices_of_layers(problem, *modes, 1), ElementsAre(2, 2, 1, 1, 0, 0, 2));
}

TEST(BranchPlacement, chain_has_no_branches) {
  const Problem problem = branched({{"a", 3, 10, {}}, {"b", 2, 10, {{0, {}}}}}, 2);
  EXPECT_FALSE(branch_placement(problem, BranchLayout::kApart));
  EXPECT_FALSE(branch_placement(problem, BranchLayout::kSpread));
}

}  // namespace
}  // namespace opweave
