#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>

#include "io/msr_ideals.h"
#include "opweave/msr.h"
#include "partition/latency.h"
#include "support/data_dir.h"

namespace opweave::testing {
namespace {

using nlohmann::json;

/// A few nodes with forward edges only, or with a mirrored backward half whose color classes join it to the forward
/// one.
MsrInstance random_instance(std::mt19937_64& random, std::size_t forward, bool training) {
  const auto number = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  MsrInstance instance;
  instance.accelerators = static_cast<std::uint32_t>(number(1, 2));
  instance.cpus = static_cast<std::uint32_t>(number(training ? 0 : 1, 1));
  instance.accelerator_memory_bytes = number(8, 30);
  const std::size_t count = training ? 2 * forward : forward;
  for (std::size_t i = 0; i < count; ++i) {
    MsrInstance::Node node;
    node.id = static_cast<std::int64_t>(i);
    node.is_backward = i >= forward;
    node.accelerator_ms = number(0, 5);
    node.cpu_ms = 3 * node.accelerator_ms;
    node.size_bytes = number(0, 6);
    node.output_ms = number(0, 6);
    if (training) node.color_class = static_cast<std::int64_t>(node.is_backward ? count - 1 - i : i);
    instance.nodes.push_back(node);
  }
  instance.successors.resize(count);
  for (std::uint32_t a = 0; a + 1 < forward; ++a) {
    for (std::uint32_t b = a + 1; b < forward; ++b) {
      if (number(0, 2) != 0) continue;
      instance.successors[a].push_back(b);
      if (training) instance.successors[count - 1 - b].push_back(static_cast<std::uint32_t>(count - 1 - a));
    }
  }
  for (auto& list : instance.successors) std::sort(list.begin(), list.end());
  return instance;
}

/// Least value over all feasible placements that have one.
double least(const MsrInstance& instance, const std::function<std::optional<double>(const MsrPlacement&)>& value_of) {
  double best = std::numeric_limits<double>::infinity();
  MsrPlacement placement(instance.nodes.size());
  const std::uint32_t devices = instance.accelerators + instance.cpus;
  while (true) {
    if (msr_infeasibility(instance, placement).empty()) best = std::min(best, value_of(placement).value_or(best));
    std::size_t digit = 0;
    while (digit < placement.size() && ++placement[digit] == devices) placement[digit++] = 0;
    if (digit == placement.size()) return best;
  }
}

TEST(PlaceMsr, agrees_with_enumeration_for_every_contiguity) {
  std::mt19937_64 random(31);
  int with_placement = 0;
  for (int round = 0; round < 45; ++round) {
    const bool training = round % 3 == 2;
    const MsrInstance instance = random_instance(random, training ? 3 : 5, training);
    for (const Contiguity contiguity : {Contiguity::kNone, Contiguity::kConvex, Contiguity::kOrdered}) {
      const double expected = least(instance, [&](const MsrPlacement& placement) -> std::optional<double> {
        if (msr_contiguity(instance, placement) < contiguity) return std::nullopt;
        return msr_max_load(instance, placement);
      });
      MsrOptions options;
      options.contiguity = contiguity;
      const MsrAnswer answer = place_msr(instance, Budget(std::nullopt, 20'000), options);
      const std::string where = fmt::format("round {} {}", round, to_string(contiguity));
      EXPECT_EQ(answer.placement.empty(), expected == std::numeric_limits<double>::infinity()) << where;
      if (answer.placement.empty()) continue;
      ++with_placement;
      EXPECT_EQ(msr_infeasibility(instance, answer.placement), "") << where;
      EXPECT_GE(msr_contiguity(instance, answer.placement), contiguity) << where;
      EXPECT_EQ(msr_max_load(instance, answer.placement), answer.value) << where;
      EXPECT_DOUBLE_EQ(answer.value, expected) << where;
      EXPECT_LE(answer.bound, expected * (1 + 1e-9)) << where;
      EXPECT_TRUE(answer.proven || contiguity != Contiguity::kOrdered) << where;
    }
  }
  EXPECT_GT(with_placement, 60);
}

TEST(PlaceMsr, latency_agrees_with_enumeration_and_is_never_below_its_bound) {
  std::mt19937_64 random(37);
  int proven = 0;
  for (int round = 0; round < 40; ++round) {
    const MsrInstance instance = random_instance(random, 5, false);
    const double expected =
        least(instance, [&](const MsrPlacement& placement) { return msr_latency(instance, placement); });
    MsrOptions options;
    options.objective = MsrObjective::kLatency;
    const MsrAnswer answer = place_msr(instance, Budget(std::nullopt, 20'000), options);
    ASSERT_FALSE(answer.placement.empty());
    EXPECT_EQ(msr_infeasibility(instance, answer.placement), "");
    EXPECT_DOUBLE_EQ(answer.value, expected) << "round " << round;
    EXPECT_LE(partition::latency_bound(instance, {}), expected * (1 + 1e-9)) << "round " << round;
    proven += answer.proven ? 1 : 0;
  }
  EXPECT_GT(proven, 3);
}

TEST(PlaceMsr, a_chain_that_memory_cuts_pays_for_every_cut) {
  // Four nodes of 1 ms and 2 bytes in a chain, accelerators of 4 bytes, outputs of 0.5 ms: two pieces, one cut paid at
  // both ends, 4 + 2 x 0.5. On CPUs a node takes 30 ms.
  MsrInstance instance;
  instance.accelerators = 3;
  instance.cpus = 1;
  instance.accelerator_memory_bytes = 4;
  for (std::int64_t id = 0; id < 4; ++id) {
    MsrInstance::Node node;
    node.id = id;
    node.accelerator_ms = 1;
    node.cpu_ms = 30;
    node.size_bytes = 2;
    node.output_ms = 0.5;
    instance.nodes.push_back(node);
  }
  instance.successors = {{1}, {2}, {3}, {}};
  EXPECT_EQ(partition::latency_bound(instance, {}), 5);
  MsrOptions options;
  options.objective = MsrObjective::kLatency;
  const MsrAnswer answer = place_msr(instance, {}, options);
  EXPECT_EQ(answer.value, 5);
  EXPECT_TRUE(answer.proven);
}

TEST(PlaceMsr, says_that_no_placement_exists) {
  MsrInstance instance;
  instance.accelerators = 1;
  instance.accelerator_memory_bytes = 1;
  instance.nodes.resize(1);
  instance.nodes[0].size_bytes = 2;
  instance.successors.resize(1);
  const MsrAnswer answer = place_msr(instance, Budget(std::nullopt, 100));
  EXPECT_TRUE(answer.placement.empty());
}

struct Published {
  json facts;
  MsrInstance instance;
};

std::vector<Published> published(const char* key) {
  std::vector<Published> rows;
  const auto folder = data_dir();
  if (!folder || !std::filesystem::exists(*folder / "msr/results.json")) return rows;
  const json results = json::parse(read_file(*folder / "msr/results.json"));
  for (const json& facts : results.at("instances")) {
    if (!facts.contains(key)) continue;
    const std::filesystem::path path = *folder / "msr" / facts.at("file").get<std::string>();
    rows.push_back({facts, parse_msr(read_file(path), path.string())});
  }
  return rows;
}

TEST(PlaceMsr, published_ordered_optima_are_proven_with_little_work) {
  const auto rows = published("contiguous_ordered_ms");
  if (rows.empty()) GTEST_SKIP() << "OPWEAVE_DATA has no msr folder";
  for (const Published& row : rows) {
    MsrOptions options;
    options.contiguity = Contiguity::kOrdered;
    const MsrAnswer answer = place_msr(row.instance, {}, options);
    const std::string id = row.facts.at("id");
    EXPECT_NEAR(answer.value, row.facts.at("contiguous_ordered_ms").at("value").get<double>(), 1e-9) << id;
    EXPECT_TRUE(answer.proven) << id;
    EXPECT_EQ(msr_infeasibility(row.instance, answer.placement), "") << id;
    EXPECT_EQ(msr_contiguity(row.instance, answer.placement), Contiguity::kOrdered) << id;
    // Some 15 million sets are looked at per second; the largest row needs 2.4 million.
    EXPECT_LT(answer.work, 3'000'000U) << id;
  }
}

TEST(PlaceMsr, best_known_values_without_contiguity_are_reached) {
  const auto rows = published("non_contiguous_ms");
  if (rows.empty()) GTEST_SKIP() << "OPWEAVE_DATA has no msr folder";
  for (const Published& row : rows) {
    const std::string id = row.facts.at("id");
    const MsrAnswer answer = place_msr(row.instance, Budget(std::nullopt, 300'000));
    EXPECT_EQ(msr_infeasibility(row.instance, answer.placement), "") << id;
    EXPECT_LE(answer.value, row.facts.at("non_contiguous_ms").at("value").get<double>() * 1.01) << id;
    EXPECT_GE(answer.bound, row.facts.at("lower_bound_ms").get<double>() * (1 - 1e-6)) << id;
    EXPECT_LE(answer.bound, answer.value) << id;
  }
}

TEST(PlaceMsr, published_latencies_are_reached) {
  const auto rows = published("latency_q1_ms");
  if (rows.empty()) GTEST_SKIP() << "OPWEAVE_DATA has no msr folder";
  for (const Published& row : rows) {
    const std::string id = row.facts.at("id");
    MsrOptions options;
    options.objective = MsrObjective::kLatency;
    const MsrAnswer answer = place_msr(row.instance, Budget(std::nullopt, 60'000), options);
    EXPECT_LE(answer.value, row.facts.at("latency_q1_ms").at("value").get<double>() * 1.01) << id;
    EXPECT_GE(answer.bound, row.facts.at("lower_bound_ms").get<double>()) << id;
    EXPECT_EQ(msr_infeasibility(row.instance, answer.placement), "") << id;
  }
}

}  // namespace
}  // namespace opweave::testing
