#include "periodic/kernel.h"

#include <gtest/gtest.h>

#include "kernels.h"
#include "periodic/find_kernel.h"
#include "periodic/kernel_search.h"
#include "support/pipelines.h"

namespace opweave::periodic {
namespace {

using testing::StagePipeline;
using testing::units;

TEST(Kernel, period_is_at_least_the_load_of_the_busiest_stream) {
  // F + I + W of a stage.
  const Problem problem = testing::stage_pipeline(StagePipeline{PipelineShape::kLinear, 4, 20, 1, 1.5, 0.5, 0, {}});
  EXPECT_EQ(least_period(*testing::unit_of(problem)), units(3).value());
}

TEST(Kernel, period_is_at_least_what_memory_forces) {
  // One activation per device, held from F0 to W0: F0 F1 I1 I0 W0, 5 units.
  const Problem problem = testing::stage_pipeline(StagePipeline{PipelineShape::kLinear, 2, 20, 1, 1, 1, 0, {1, 1}});
  EXPECT_EQ(least_period(*testing::unit_of(problem)), units(5).value());
}

TEST(Kernel, is_valid_exactly_if_its_repetitions_make_a_valid_schedule) {
  std::size_t valid = 0;
  std::size_t invalid = 0;
  for (std::uint64_t seed = 1; seed <= testing::seeds(60); ++seed) {
    testing::Dice dice(seed);
    const std::uint32_t devices = static_cast<std::uint32_t>(dice.roll(2, 4));
    const auto shape = dice.chance(50) ? PipelineShape::kLinear : PipelineShape::kV;
    const std::vector<double> activations(devices, static_cast<double>(dice.roll(1, 2 * devices)));
    const Problem problem =
        testing::stage_pipeline(StagePipeline{shape, devices, 20, 1, 1.2, 0.8, dice.chance(50) ? 0.1 : 0, activations});
    const auto body = testing::unit_of(problem);
    for (const double factor : {1.0, 1.3, 3.0}) {
      const auto period = static_cast<Time>(factor * static_cast<double>(least_period(*body)));
      std::optional<Kernel> kernel = kernel_from_order(body, testing::chain_starts(*body), period);
      if (!kernel) continue;
      // Half of them with a node somewhere else.
      if (dice.chance(50)) kernel->starts[body->nodes()[0]] += dice.roll(-3, 3) * units(0.4).value();
      const std::string found = testing::violation(problem, testing::unrolled(*kernel, problem));
      EXPECT_EQ(is_valid(*kernel), found.empty()) << "seed " << seed << ", factor " << factor << ": " << found;
      ++(found.empty() ? valid : invalid);
    }
  }
  EXPECT_GT(valid, 20U);
  EXPECT_GT(invalid, 20U);
}

TEST(Kernel, of_the_least_period_always_exists_where_memory_is_no_limit) {
  for (std::uint64_t seed = 1; seed <= testing::seeds(40); ++seed) {
    testing::Dice dice(seed);
    const double cost = static_cast<double>(dice.roll(2, 20)) / 10;
    const Problem problem = testing::stage_pipeline(StagePipeline{
        dice.chance(50) ? PipelineShape::kV : PipelineShape::kLoop, 4, 20, 1, cost, 2.5 - cost / 2, 0.3, {}});
    const auto body = testing::unit_of(problem);
    const std::optional<Kernel> kernel = kernel_from_order(body, testing::chain_starts(*body), least_period(*body));
    ASSERT_TRUE(kernel) << seed;
    EXPECT_TRUE(is_valid(*kernel)) << seed;
  }
}

TEST(Kernel, search_shortens_a_serial_kernel_and_reports_only_valid_ones) {
  // ZB-V has period 3 with 4 activations on 4 devices: so much is possible.
  const Problem problem = testing::stage_pipeline(StagePipeline{PipelineShape::kV, 4, 20, 1, 1, 1, 0, {4, 4, 4, 4}});
  const auto body = testing::unit_of(problem);
  const std::vector<Time> chain = testing::chain_starts(*body);
  const Time span = *std::ranges::max_element(chain) + units(1).value();
  const std::optional<Kernel> serial = kernel_from_order(body, chain, span);
  ASSERT_TRUE(serial);
  ASSERT_TRUE(is_valid(*serial));
  Time last = serial->period;
  shorten_period(*serial, Budget(), {1, 30'000}, [&](const Kernel& kernel) {
    EXPECT_TRUE(is_valid(kernel));
    EXPECT_LT(kernel.period, last);
    last = kernel.period;
  });
  EXPECT_GE(last, units(3).value());
  EXPECT_LE(last, units(3.5).value());
}

}  // namespace
}  // namespace opweave::periodic
