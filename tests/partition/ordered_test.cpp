#include "partition/ordered.h"

#include <gtest/gtest.h>

#include "partition/random_models.h"

namespace opweave::testing {
namespace {

using partition::Assignment;
using partition::CutModel;
using partition::OrderedAnswer;

/// A chain 0 -> 1 -> 2 -> 3 of works 4, 1, 1, 4 with nets of costs 1, 5, 1 between, and devices that pay.
CutModel chain(std::uint32_t devices) {
  CutModel model;
  model.kinds = {{devices, true, 100, {4, 1, 1, 4}}};
  model.bytes = {0, 0, 0, 0};
  model.nets = {{{0, 1}, 1}, {{1, 2}, 5}, {{2, 3}, 1}};
  model.precedence = {{0, 1}, {1, 2}, {2, 3}};
  return model;
}

TEST(Ordered, chain_is_cut_where_its_nets_are_cheap) {
  // Two devices: the cut in the middle costs 5 + 5 on each, after vertex 0: 4 + 1 and 6 + 1.
  EXPECT_EQ(partition::best_ordered(chain(2), {}).value, 7);
  // Three: 4 + 1, 2 + 2, 4 + 1.
  const OrderedAnswer answer = partition::best_ordered(chain(3), {});
  EXPECT_EQ(answer.value, 5);
  EXPECT_TRUE(answer.proven);
  EXPECT_EQ(partition::largest_load(chain(3), answer.assignment.value()), 5);
}

TEST(Ordered, units_in_a_circle_stay_together) {
  CutModel model = chain(3);
  model.precedence.emplace_back(2, 1);
  model.precedence.emplace_back(3, 0);
  EXPECT_EQ(partition::best_ordered(model, {}).value, 10);
}

TEST(Ordered, says_that_nothing_fits) {
  CutModel model = chain(2);
  model.kinds[0].capacity = 10;
  model.bytes = {6, 6, 6, 0};
  const OrderedAnswer answer = partition::best_ordered(model, {});
  EXPECT_FALSE(answer.assignment.has_value());
  EXPECT_TRUE(answer.proven);
}

TEST(Ordered, agrees_with_enumeration_on_random_models) {
  std::mt19937_64 random(7);
  int with_answer = 0;
  for (int round = 0; round < 400; ++round) {
    const auto vertices = static_cast<std::size_t>(2 + round % 5);
    const CutModel model = random_model(random, vertices, static_cast<std::uint32_t>(1 + round % 3), round / 3 % 2);
    const double expected =
        least_load(model, [&](const Assignment& assignment) { return lines_up(model, assignment); });
    const OrderedAnswer answer = partition::best_ordered(model, {});
    EXPECT_TRUE(answer.proven);
    ASSERT_EQ(answer.value, expected) << "round " << round;
    ASSERT_EQ(answer.assignment.has_value(), answer.value < std::numeric_limits<double>::infinity());
    if (!answer.assignment) continue;
    ++with_answer;
    EXPECT_EQ(partition::largest_load(model, *answer.assignment), expected) << "round " << round;
    EXPECT_TRUE(lines_up(model, *answer.assignment)) << "round " << round;
    EXPECT_GE(partition::cut_orders(partition::merge_circles(model).model).value, expected);
  }
  EXPECT_GT(with_answer, 200);
}

TEST(Ordered, contraction_keeps_the_least_load) {
  std::mt19937_64 random(11);
  int merged = 0;
  for (int round = 0; round < 300; ++round) {
    CutModel model = random_model(random, 6, 2, static_cast<std::uint32_t>(round % 3));
    if (round % 2 == 0) model.kinds[0].capacity = 1000;  // memory must be ample for most merges
    const double least = least_load(model, [](const Assignment&) { return true; });
    const double ordered = least_load(model, [&](const Assignment& a) { return lines_up(model, a); });
    if (least == std::numeric_limits<double>::infinity()) continue;
    const partition::Contraction small = partition::contract(model, std::max(least, ordered) * 1.001);
    merged += small.model.vertex_count() < model.vertex_count() ? 1 : 0;
    EXPECT_EQ(least_load(small.model, [](const Assignment&) { return true; }), least) << "round " << round;
    EXPECT_EQ(least_load(small.model, [&](const Assignment& a) { return lines_up(small.model, a); }), ordered)
        << "round " << round;
  }
  EXPECT_GT(merged, 50);
}

TEST(Ordered, work_limit_stops_with_the_best_so_far) {
  std::mt19937_64 random(3);
  CutModel model = random_model(random, 60, 4, 1);
  model.kinds[0].capacity = 1000;
  for (double& work : model.kinds[0].work) work = std::min(work, 9.0);
  const OrderedAnswer answer = partition::best_ordered(model, Budget(std::nullopt, 1));
  ASSERT_TRUE(answer.assignment.has_value());
  EXPECT_EQ(partition::largest_load(model, *answer.assignment), answer.value);
}

}  // namespace
}  // namespace opweave::testing
