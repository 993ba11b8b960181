#include "partition/cover_bound.h"

#include <gtest/gtest.h>

#include "exact/engine.h"
#include "partition/best_set.h"
#include "partition/random_models.h"

namespace opweave::testing {
namespace {

using partition::Assignment;
using partition::BestSet;
using partition::CutModel;
using partition::Vertex;

TEST(CoverBound, best_set_agrees_with_enumeration) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 300; ++round) {
    const CutModel model = random_model(random, 7, 2, 1);
    const std::size_t kind = round % 2;
    const double limit = std::uniform_int_distribution<int>(3, 40)(random);
    std::vector<double> price;
    for (Vertex vertex = 0; vertex < 7; ++vertex) price.push_back(std::uniform_int_distribution<int>(-2, 9)(random));
    double most = 0;
    for (std::uint32_t set = 0; set < 1U << 7; ++set) {
      double load = 0;
      double worth = 0;
      for (Vertex vertex = 0; vertex < 7; ++vertex) {
        if ((set >> vertex & 1U) == 0) continue;
        load += model.kinds[kind].work[vertex];
        worth += price[vertex];
      }
      for (const partition::Net& net : model.nets) {
        std::size_t inside = 0;
        for (const Vertex vertex : net.pins) inside += set >> vertex & 1U;
        if (kind == 0 && inside > 0 && inside < net.pins.size()) load += net.cost;
      }
      if (load < limit) most = std::max(most, worth);
    }
    BestSet best(model, kind, limit);
    const auto answer = best.find(price, 0, {});
    ASSERT_TRUE(answer.has_value());
    EXPECT_EQ(answer->most, most) << "round " << round;
    if (most > 0) {
      ASSERT_FALSE(answer->found.empty());
      EXPECT_EQ(answer->found.front().price, most);
    }
    // Joined labels may overstate the price, never understate it.
    EXPECT_GE(best.find(price, 0, {}, 4)->most, most);
    EXPECT_GE(best.find(price, most + 1, {})->most, most + 1);
  }
}

TEST(CoverBound, is_never_above_the_least_load) {
  if (!exact::highs_engine()->unavailable_because().empty()) GTEST_SKIP() << "no HiGHS library";
  std::mt19937_64 random(23);
  int proven = 0;
  int above_simple = 0;
  for (int round = 0; round < 60; ++round) {
    const CutModel model = random_model(random, 6, static_cast<std::uint32_t>(2 + round % 2), round % 2);
    const double least = least_load(model, [](const Assignment&) { return true; });
    if (least == std::numeric_limits<double>::infinity()) continue;
    partition::CoverOptions options;
    options.upper = least;
    const partition::LoadBound simple = partition::simple_bound(model);
    const partition::LoadBound cover = partition::cover_bound(model, options, Budget(std::nullopt, 2'000'000));
    EXPECT_LE(simple.value, least * (1 + 1e-9)) << "round " << round;
    EXPECT_LE(cover.value, least * (1 + 1e-9)) << "round " << round;
    EXPECT_GE(cover.value, simple.value);
    proven += cover.value >= least * (1 - 1e-9) ? 1 : 0;
    above_simple += cover.value > simple.value ? 1 : 0;
  }
  EXPECT_GT(proven, 20);
  EXPECT_GT(above_simple, 20);
}

TEST(CoverBound, sees_that_a_dear_net_cannot_be_shared) {
  if (!exact::highs_engine()->unavailable_because().empty()) GTEST_SKIP() << "no HiGHS library";
  // Two devices, two vertices of work 5 joined by a net of cost 10: apart 5 + 10 each, together 10. The work alone
  // says 5.
  CutModel model;
  model.kinds = {{2, true, 100, {5, 5}}};
  model.bytes = {0, 0};
  model.nets = {{{0, 1}, 10}};
  EXPECT_EQ(partition::simple_bound(model).value, 5);
  partition::CoverOptions options;
  options.upper = 10;
  const partition::LoadBound bound = partition::cover_bound(model, options, {});
  EXPECT_EQ(bound.value, 10);
  EXPECT_EQ(bound.name, "cover");
}

}  // namespace
}  // namespace opweave::testing
