#include "order_search/order_search_parts.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "list_scheduling/list_scheduler.h"
#include "list_scheduling/priority_rules.h"
#include "list_scheduling/reference_order.h"
#include "opweave/check.h"
#include "opweave/pipeline.h"
#include "opweave/plan.h"
#include "order_search/order_search.h"
#include "placement/contiguous.h"

namespace opweave {
namespace {

using order_search::build_network;
using order_search::equal_parts;
using order_search::Network;
using order_search::Time;

/// Eight layers that may lie anywhere on four devices of 8 activations, two replicas, six microbatches.
/// \param odd  one microbatch more in the first replica
Problem two_replicas(bool odd = false) {
  PipelineSpec spec;
  spec.name = "two replicas";
  spec.shape = PipelineShape::kFree;
  spec.training.replicas = 2;
  spec.training.microbatches = odd ? 7 : 6;
  spec.stage_of_layer = even_stages(8, 8);
  for (std::uint32_t d = 0; d < 4; ++d) spec.devices.push_back("gpu" + std::to_string(d));
  for (int i = 0; i < 8; ++i) {
    Layer layer;
    layer.name = "layer" + std::to_string(i);
    layer.operators = {{"op", "", {"compute"}, Duration(10 + i), Duration(12 + i), Duration(8)}};
    layer.activation = Bytes(100);
    layer.output = Bytes(1);
    spec.layers.push_back(layer);
  }
  return Problem::create(build_pipeline(spec), uniform_cluster(4, {"compute"}, Bytes(900), Duration(1)));
}

PlacedProblem lay(const Problem& problem, Shift shift) {
  return *PlacedProblem::create(problem, *contiguous_placement(problem, Fold::kLoop, 2, PartWeight::kWork, shift));
}

Schedule first_schedule(const PlacedProblem& placed) {
  const ReferenceOrder reference = reference_order(placed);
  return placed.schedule(list_schedule(placed, reference, priority_rules(placed, reference).front().priority));
}

TEST(EqualParts, are_replicas_on_their_own_devices) {
  const Problem problem = two_replicas();
  const PlacedProblem placed = lay(problem, Shift::kApart);
  const Network network = build_network(placed);
  const auto parts = equal_parts(network, std::vector<Time>(network.node_count, 0));
  ASSERT_TRUE(parts);
  ASSERT_EQ(parts->nodes.size(), 2U);
  EXPECT_EQ(parts->nodes[0].size() * 2, network.node_count);
  EXPECT_EQ(parts->part.node_count * 2, network.node_count);
  EXPECT_EQ(parts->part.device_count, 2U);
  // Node i of one part does the same as node i of the other: the same operator, or the same transfer.
  for (std::size_t i = 0; i < parts->part.node_count; ++i) {
    const ActivityId a = network.activity_of_node[parts->nodes[0][i]];
    const ActivityId b = network.activity_of_node[parts->nodes[1][i]];
    ASSERT_EQ(placed.is_task(a), placed.is_task(b));
    if (!placed.is_task(a)) continue;
    EXPECT_EQ(problem.task(TaskId(a)).op, problem.task(TaskId(b)).op);
  }
}

TEST(EqualParts, do_not_exist_where_replicas_meet_or_differ) {
  for (const Shift shift : {Shift::kReversed, Shift::kRotated, Shift::kTogether}) {
    const Problem problem = two_replicas();
    const Network network = build_network(lay(problem, shift));
    EXPECT_FALSE(equal_parts(network, std::vector<Time>(network.node_count, 0)));
  }
  const Problem odd = two_replicas(true);
  const Network network = build_network(lay(odd, Shift::kApart));
  EXPECT_FALSE(equal_parts(network, std::vector<Time>(network.node_count, 0)));
}

TEST(EqualParts, the_model_is_the_part_that_ends_first) {
  const Problem problem = two_replicas();
  const Network network = build_network(lay(problem, Shift::kApart));
  std::vector<Time> starts(network.node_count, 0);
  const auto parts = equal_parts(network, starts);
  starts[parts->nodes[0].back()] = 1000;
  const auto again = equal_parts(network, starts);
  EXPECT_EQ(again->model, 1U);
  const std::vector<Time> taken = again->taken(starts);
  EXPECT_EQ(*std::ranges::max_element(taken), 0);
  EXPECT_EQ(again->spread(taken), std::vector<Time>(network.node_count, 0));
}

TEST(EqualParts, are_all_ordered_like_the_one_that_was_searched) {
  const Problem problem = two_replicas();
  const PlacedProblem placed = lay(problem, Shift::kApart);
  const Schedule start = first_schedule(placed);
  const Schedule found = improve_order(problem, start, Budget(), {1, 3000, 1}, {});
  EXPECT_LT(found.makespan(problem), start.makespan(problem));
  const auto violations = check(problem.graph(), problem.cluster(), make_plan(problem, found, {}, {}), 1);
  EXPECT_TRUE(violations.empty()) << violations.front().message;
  const Network network = build_network(placed);
  const std::vector<Time> starts = placed.starts(found);
  const auto parts = equal_parts(network, std::vector<Time>(network.node_count, 0));
  for (std::size_t i = 0; i < parts->part.node_count; ++i) {
    EXPECT_EQ(starts[network.activity_of_node[parts->nodes[0][i]]],
              starts[network.activity_of_node[parts->nodes[1][i]]]);
  }
}

}  // namespace
}  // namespace opweave
