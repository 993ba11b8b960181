#include "periodic/kernel_program.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels.h"
#include "opweave/pipeline.h"

namespace opweave::periodic {
namespace {

constexpr std::uint32_t kWindows = 3;

/// Tries all starts of the nodes below `kWindows` periods, in topological order, the first at 0.
bool has_kernel(Kernel& kernel, std::size_t next) {
  const std::vector<Node>& nodes = kernel.body->nodes();
  if (next == nodes.size()) return is_valid(kernel);
  const Network& network = kernel.body->network();
  const Node node = nodes[next];
  Time ready = 0;
  for (const Node before : network.predecessors[node]) {
    ready = std::max(ready, kernel.starts[before] + network.duration[before]);
  }
  const Time end = next == 0 ? 1 : kernel.period * kWindows;
  for (Time start = ready; start < end; ++start) {
    kernel.starts[node] = start;
    const bool clashes = std::any_of(nodes.begin(), nodes.begin() + static_cast<std::ptrdiff_t>(next), [&](Node other) {
      const auto resources = network.resources[node];
      const auto others = network.resources[other];
      if (std::find_first_of(resources.begin(), resources.end(), others.begin(), others.end()) == resources.end()) {
        return false;
      }
      const Time distance = ((kernel.starts[other] - start) % kernel.period + kernel.period) % kernel.period;
      return distance < network.duration[node] || kernel.period - distance < network.duration[other];
    });
    if (!clashes && has_kernel(kernel, next + 1)) return true;
  }
  return false;
}

/// Two stages on two devices, times of 1 to 2 ns.
Problem tiny_pipeline(std::uint64_t seed) {
  testing::Dice dice(seed);
  PipelineSpec spec;
  spec.name = "tiny";
  spec.shape = PipelineShape::kLinear;
  for (int stage = 0; stage < 2; ++stage) {
    Layer layer;
    layer.name = "s" + std::to_string(stage);
    layer.operators = {{"op", "", {"compute"}, Duration(dice.roll(1, 2)), Duration(dice.roll(1, 2)), {}}};
    if (dice.chance(50)) layer.operators[0].weight_gradient = Duration(1);
    layer.activation = Bytes(dice.roll(1, 2));
    spec.layers.push_back(std::move(layer));
  }
  spec.devices = {"gpu0", "gpu1"};
  spec.training.microbatches = 20;
  return Problem::create(build_pipeline(spec),
                         uniform_cluster(2, {"compute"}, Bytes(dice.roll(2, 5)), Duration(dice.chance(30) ? 1 : 0)));
}

TEST(KernelProgram, finds_a_kernel_exactly_where_there_is_one) {
  if (!exact::cp_sat_engine()->unavailable_because().empty()) GTEST_SKIP() << "CP-SAT is not there";
  std::size_t found = 0;
  std::size_t impossible = 0;
  for (std::uint64_t seed = 1; seed <= testing::seeds(25); ++seed) {
    const auto body = testing::unit_of(tiny_pipeline(seed));
    const Time least = least_period(*body);
    for (Time period = std::max<Time>(2, least - 1); period <= least + 1; ++period) {
      Kernel tried{body, period, std::vector<Time>(body->network().node_count, 0)};
      const bool exists = has_kernel(tried, 0);
      KernelProgramOptions options;
      options.laps = kWindows;
      const KernelAnswer answer = solve_kernel(body, period, nullptr, Budget(20, std::nullopt), options);
      // The first node may start in any phase of lap 0 here and is at 0 there: one lap more or less, at most.
      if (answer.kernel) {
        EXPECT_TRUE(is_valid(*answer.kernel)) << seed;
        EXPECT_TRUE(exists) << "seed " << seed << ", period " << period;
        ++found;
      } else {
        EXPECT_EQ(answer.status, KernelAnswer::Status::kImpossible) << seed;
        EXPECT_FALSE(exists) << "seed " << seed << ", period " << period;
        ++impossible;
      }
      EXPECT_TRUE(!exists || period >= least) << "seed " << seed << ": a bound above a kernel";
    }
  }
  EXPECT_GT(found, 10U);
  EXPECT_GT(impossible, 10U);
}

TEST(KernelProgram, builds_nothing_that_is_too_large) {
  const auto body = testing::unit_of(tiny_pipeline(1));
  KernelProgramOptions options;
  options.laps = 1'000'000;
  EXPECT_EQ(solve_kernel(body, 100, nullptr, Budget(), options).status, KernelAnswer::Status::kTooLarge);
}

}  // namespace
}  // namespace opweave::periodic
