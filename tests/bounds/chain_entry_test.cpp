#include "bounds/chain_entry.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "opweave/bounds.h"
#include "opweave/pipeline.h"
#include "support/brute_force.h"
#include "support/random_problems.h"

namespace opweave::bounds {
namespace {

Problem chain(const std::vector<std::int64_t>& forwards, std::int64_t gradient, bool apart, std::uint32_t microbatches,
              const std::vector<std::string>& types, std::optional<Bytes> memory = std::nullopt) {
  PipelineSpec spec;
  spec.shape = PipelineShape::kFree;
  spec.training.microbatches = microbatches;
  for (std::size_t i = 0; i < forwards.size(); ++i) {
    const auto time = [](std::int64_t fast) {
      return LayerTime({{"fast", Duration(fast)}, {"slow", Duration(2 * fast)}});
    };
    Layer layer;
    layer.name = fmt::format("layer{}", i);
    layer.operators = {{"op", "", {"compute"}, time(forwards[i]), std::nullopt, std::nullopt}};
    layer.operators.front().input_gradient = time(gradient);
    if (apart) layer.operators.front().weight_gradient = time(1);
    layer.weights = Bytes(1);
    spec.layers.push_back(std::move(layer));
  }
  ClusterParts cluster =
      uniform_cluster(static_cast<std::uint32_t>(types.size()), {"compute"}, memory, Duration(0)).parts();
  cluster.types = {{"fast", {}, {}}, {"slow", {}, {}}};
  for (std::size_t d = 0; d < types.size(); ++d) cluster.devices[d].type = types[d];
  return Problem::create(build_pipeline(spec), Cluster::create(std::move(cluster)));
}

TEST(ChainEntry, the_next_device_waits_for_a_forward_of_each_before_it) {
  const Problem problem = chain({3, 1, 2}, 5, true, 2, {"fast", "slow"});
  const auto entries = chain_entries(problem, {DeviceId(0), DeviceId(1)});
  // The layers that others come behind are the first and the second. With gradients of weights nothing has to come at
  // the end.
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_EQ(entries[0], (std::vector<Nanoseconds>{0, 1, 1 + 3}));
  EXPECT_EQ(entries[1], (std::vector<Nanoseconds>{0, 2, 2 + 6}));
}

TEST(ChainEntry, whole_gradients_come_back_the_same_way) {
  const Problem problem = chain({3, 1, 2}, 5, false, 2, {"fast", "slow"});
  const auto entries = chain_entries(problem, {DeviceId(0)});
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_EQ(entries[0], (std::vector<Nanoseconds>{0, 1 + 5, 1 + 5 + 3 + 5}));
}

TEST(ChainEntry, there_is_none_where_groups_stand_side_by_side) {
  PipelineSpec spec;
  spec.shape = PipelineShape::kFree;
  for (const char* name : {"a", "b", "c"}) {
    Layer layer;
    layer.name = name;
    layer.operators = {{"op", "", {"compute"}, Duration(1), std::nullopt, std::nullopt}};
    spec.layers.push_back(layer);
  }
  spec.components = {{"left", 1, {}, {}}, {"right", 1, {}, {}}, {"top", 1, {{0, {}}, {1, {}}}, {}}};
  const Problem problem = Problem::create(build_pipeline(spec), uniform_cluster(2, {"compute"}, {}, Duration(0)));
  EXPECT_TRUE(chain_entries(problem, {DeviceId(0)}).empty());
}

TEST(ChainEntry, equal_layers_that_fill_two_speeds_keep_the_last_slow_device_waiting) {
  // 40 layers of 7.4 GB, 1 us per phase: six on each of 4 devices of 50 GB, four on each of 4 of half the speed and
  // 30 GB. A slow one works for 8 x 4 x 6 us = 192 us, and the last of them begins after 3 forwards of 2 us.
  std::vector<std::string> types(8, "fast");
  std::fill(types.begin() + 4, types.end(), "slow");
  ClusterParts cluster = chain({1}, 1, true, 1, types).cluster().parts();
  PipelineSpec spec;
  spec.shape = PipelineShape::kFree;
  spec.training.microbatches = 8;
  const LayerTime time({{"fast", Duration(1000)}, {"slow", Duration(2000)}});
  for (int i = 0; i < 40; ++i) {
    Layer layer;
    layer.name = fmt::format("layer{}", i);
    layer.operators = {{"op", "", {"compute"}, time, time, time}};
    layer.weights = Bytes(7'400'000'000);
    spec.layers.push_back(layer);
  }
  for (std::size_t d = 0; d < 8; ++d) cluster.devices[d].memory = Bytes(d < 4 ? 50'000'000'000 : 30'000'000'000);
  const Problem problem = Problem::create(build_pipeline(spec), Cluster::create(std::move(cluster)));
  const std::vector<LowerBound> bounds = lower_bounds(problem, Budget());
  EXPECT_EQ(bounds.front().name, "packing");
  EXPECT_EQ(bounds.front().value, Duration(198'000));
}

TEST(ChainEntry, no_bound_is_above_the_optimum_of_a_small_chain) {
  int known = 0;
  for (std::uint64_t seed = 1; seed <= testing::seeds(60); ++seed) {
    testing::Dice dice(seed);
    const bool apart = dice.chance(40);
    const std::int64_t layers = apart ? 2 : dice.roll(2, 3);
    std::vector<std::int64_t> forwards;
    for (std::int64_t i = 0; i < layers; ++i) forwards.push_back(dice.roll(1, 4));
    std::vector<std::string> types;
    for (std::int64_t d = dice.roll(2, 3); d > 0; --d) types.emplace_back(dice.chance(50) ? "fast" : "slow");
    // As many layers on each device as it takes to keep all of them.
    const std::int64_t each = (layers + std::ssize(types) - 1) / std::ssize(types);
    const Problem problem = chain(forwards, dice.roll(1, 4), apart, apart ? 1 : 2, types, Bytes(each));
    const testing::ExactAnswer answer = testing::brute_force(problem, 300'000);
    if (!answer.finished) continue;
    ASSERT_TRUE(answer.best) << seed;
    ++known;
    for (const LowerBound& bound : lower_bounds(problem, Budget())) {
      EXPECT_LE(bound.value, answer.best->makespan(problem)) << seed << " " << bound.name;
    }
  }
  EXPECT_GE(known, 30);
}

}  // namespace
}  // namespace opweave::bounds
