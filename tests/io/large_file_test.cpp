#include <gtest/gtest.h>

#include <ctime>
#include <string>

#include "opweave/io.h"

namespace opweave::testing {
namespace {

/// A chain with skips: a name, a duration and two or three references per operator.
ComputationGraph large_graph(std::size_t count) {
  std::vector<Operator> operators(count);
  std::vector<Tensor> tensors(count);
  for (std::size_t i = 0; i < count; ++i) {
    Operator& op = operators[i];
    op.name = "layers." + std::to_string(i / 8) + ".op" + std::to_string(i);
    op.kind = "matmul";
    op.durations = {{"", Duration(static_cast<std::int64_t>(i))}};
    op.outputs = {TensorId(i)};
    tensors[i] = {op.name + ".out", Bytes(4096), {}, {}};
    if (i > 0) op.inputs.emplace_back(i - 1);
    if (i > 10) op.inputs.emplace_back(i - 10);
  }
  return ComputationGraph::create("large", std::move(operators), std::move(tensors), {});
}

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

/// A tenth of this is usual: the limit is for what grows faster than the file.
TEST(LargeFile, hundred_thousand_operators_are_read_and_written_in_seconds) {
#ifdef __SANITIZE_ADDRESS__
  constexpr std::size_t kOperators = 10'000;
#else
  constexpr std::size_t kOperators = 100'000;
#endif
  const ComputationGraph graph = large_graph(kOperators);
  const double start = cpu_seconds();
  const std::string json = graph_to_json(graph);
  const ComputationGraph again = parse_graph(json, "large.json");
  const double used = cpu_seconds() - start;
  EXPECT_EQ(again.operators().size(), kOperators);
  EXPECT_EQ(graph_to_json(again), json);
  EXPECT_LT(used, 5.0);
}

}  // namespace
}  // namespace opweave::testing
