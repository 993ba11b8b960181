#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "opweave/bounds.h"
#include "support/pipelines.h"
#include "support/tiny_diamond.h"

namespace opweave {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Operator make(std::string name, std::vector<std::string> devices, std::vector<TensorId> inputs = {},
              std::vector<TensorId> outputs = {}, std::vector<ParameterId> parameters = {}) {
  Operator op;
  op.name = std::move(name);
  op.durations = {{"", Duration(5)}};
  if (!devices.empty()) op.devices = {std::move(devices)};
  op.inputs = std::move(inputs);
  op.outputs = std::move(outputs);
  op.parameters = std::move(parameters);
  return op;
}

std::vector<std::string> proofs(std::vector<Operator> operators, std::vector<Tensor> tensors,
                                std::vector<Parameter> parameters, std::uint32_t devices, Bytes memory,
                                Training training = {}) {
  return infeasibility_proofs(Problem::create(
      ComputationGraph::create("g", std::move(operators), std::move(tensors), std::move(parameters), training),
      uniform_cluster(devices, {"compute"}, memory, Duration(1))));
}

TEST(InfeasibilityProofs, an_operator_that_fits_on_no_device_is_named) {
  // bottom reads two tensors of 100 bytes and makes one: 300 on one device.
  const auto graph = testing::tiny_diamond_graph();
  EXPECT_THAT(infeasibility_proofs(Problem::create(graph, testing::tiny_cluster(Bytes(300)))), IsEmpty());
  EXPECT_THAT(infeasibility_proofs(Problem::create(graph, testing::tiny_cluster(Bytes(299)))),
              Contains(AllOf(HasSubstr("operator \"bottom\" fits on no device"), HasSubstr("need 300 bytes"))));
}

TEST(InfeasibilityProofs, parameters_of_a_group_count_beside_its_most_demanding_operator) {
  // 10 bytes of weights with 20 of optimizer state, and an output of 5: 35 bytes.
  const auto at = [](std::int64_t bytes) {
    Training training;
    training.optimizer_bytes_per_weight_byte = 2;
    return proofs({make("a", {}, {}, {TensorId(0)}, {ParameterId(0)})}, {{"t", Bytes(5), {}, {}}}, {{"w", Bytes(10)}},
                  2, Bytes(bytes), training);
  };
  EXPECT_THAT(at(35), IsEmpty());
  EXPECT_THAT(at(34), Contains(HasSubstr("need 35 bytes")));
}

TEST(InfeasibilityProofs, parameters_pinned_to_a_device_exceed_it_together) {
  const auto at = [](std::int64_t bytes) {
    return proofs({make("a", {"gpu0"}, {}, {}, {ParameterId(0)}), make("b", {"gpu0"}, {}, {}, {ParameterId(1)})}, {},
                  {{"p", Bytes(10)}, {"q", Bytes(10)}}, 2, Bytes(bytes));
  };
  EXPECT_THAT(at(20), IsEmpty());
  EXPECT_THAT(at(19), Contains(HasSubstr("on device \"gpu0\" exceed its memory by 1 bytes")));
}

TEST(InfeasibilityProofs, all_parameters_exceed_all_devices) {
  std::vector<Operator> operators;
  std::vector<Parameter> parameters;
  for (std::size_t i = 0; i < 5; ++i) {
    operators.push_back(make("o" + std::to_string(i), {}, {}, {}, {ParameterId(i)}));
    parameters.push_back({"p" + std::to_string(i), Bytes(10)});
  }
  EXPECT_THAT(proofs(operators, {}, parameters, 2, Bytes(30)), IsEmpty());
  // The sum fits, but neither device takes more than 2 of them.
  EXPECT_THAT(proofs(operators, {}, parameters, 2, Bytes(25)),
              Contains(HasSubstr("50 bytes of parameters do not fit")));
  EXPECT_THAT(proofs(operators, {}, parameters, 2, Bytes(24)), Contains(HasSubstr("2 devices exceed its memory by 2")));
}

TEST(InfeasibilityProofs, tensors_that_cannot_be_released_exceed_a_device) {
  // a, b and c each leave 10 bytes that only d reads; while c runs all three are there.
  const std::vector<Operator> operators = {make("a", {"gpu0"}, {}, {TensorId(0), TensorId(3)}),
                                           make("b", {"gpu0"}, {TensorId(3)}, {TensorId(1), TensorId(4)}),
                                           make("c", {"gpu0"}, {TensorId(4)}, {TensorId(2)}),
                                           make("d", {"gpu0"}, {TensorId(0), TensorId(1), TensorId(2)})};
  std::vector<Tensor> tensors;
  for (std::size_t i = 0; i < 5; ++i) tensors.push_back({"t" + std::to_string(i), Bytes(i < 3 ? 10 : 0), {}, {}});
  EXPECT_THAT(proofs(operators, tensors, {}, 1, Bytes(30)), IsEmpty());
  EXPECT_THAT(proofs(operators, tensors, {}, 1, Bytes(29)), Contains(HasSubstr("operator \"d\"")));
}

TEST(InfeasibilityProofs, less_memory_than_one_microbatch_needs) {
  // V: device 0 holds the first and the last stage, so one microbatch alone needs both half activations.
  const auto at = [](double activations) {
    return infeasibility_proofs(
        testing::stage_pipeline({PipelineShape::kV, 4, 8, 1, 1, 1, 0, std::vector<double>(4, activations)}));
  };
  EXPECT_THAT(at(1), IsEmpty());
  EXPECT_THAT(at(0.5), Contains(HasSubstr("on device \"gpu0\"")));
}

TEST(InfeasibilityProofs, a_value_without_a_route_is_named) {
  ClusterParts parts;
  parts.devices = {{"gpu0", "", {}, {"compute"}}, {"gpu1", "", {}, {"compute"}}};
  const auto graph = ComputationGraph::create(
      "g", {make("a", {"gpu0"}, {}, {TensorId(0)}), make("b", {"gpu1"}, {TensorId(0)})}, {{"t", Bytes(1), {}, {}}}, {});
  EXPECT_THAT(infeasibility_proofs(Problem::create(graph, Cluster::create(parts))),
              Contains(AllOf(HasSubstr("tensor \"t\""), HasSubstr("no route"))));
  parts.default_link = Link{"", "", "", Duration(1), {}, true};
  EXPECT_THAT(infeasibility_proofs(Problem::create(graph, Cluster::create(parts))), IsEmpty());
}

}  // namespace
}  // namespace opweave
