#include "periodic/modulo_schedule.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <utility>

#include "kernels.h"
#include "periodic/find_kernel.h"
#include "support/pipelines.h"

namespace opweave::periodic {
namespace {

using testing::StagePipeline;
using testing::units;

constexpr Time kAny = std::numeric_limits<Time>::max();

TEST(ModuloSchedule, is_a_kernel_whose_repetitions_make_a_valid_schedule) {
  std::size_t found = 0;
  for (std::uint64_t seed = 1; seed <= testing::seeds(60); ++seed) {
    testing::Dice dice(seed);
    const auto devices = static_cast<std::uint32_t>(dice.roll(2, 4));
    const auto shape = dice.chance(50) ? PipelineShape::kLoop : PipelineShape::kV;
    const std::vector<double> activations(devices, static_cast<double>(dice.roll(devices, 2 * devices)));
    const Problem problem =
        testing::stage_pipeline(StagePipeline{shape, devices, 20, 1, 1.2, 0.8, dice.chance(50) ? 0.1 : 0, activations});
    const auto body = testing::unit_of(problem);
    ASSERT_TRUE(can_be_modulo_scheduled(*body));
    const std::optional<Kernel> kernel = modulo_kernel(body, kAny, Budget(), {seed, 30});
    if (!kernel) continue;
    ++found;
    EXPECT_TRUE(is_valid(*kernel)) << seed;
    EXPECT_GE(kernel->period, least_period(*body)) << seed;
    EXPECT_EQ(testing::violation(problem, testing::unrolled(*kernel, problem)), "") << seed;
  }
  EXPECT_GT(found, testing::seeds(60) / 2) << found;
}

TEST(ModuloSchedule, says_nothing_where_no_shorter_period_is_found) {
  const Problem problem = testing::stage_pipeline(StagePipeline{PipelineShape::kLinear, 4, 20, 1, 1.5, 0.5, 0, {}});
  const auto body = testing::unit_of(problem);
  EXPECT_FALSE(modulo_kernel(body, least_period(*body), Budget(), {1, 100}));
  const std::optional<Kernel> kernel = modulo_kernel(body, kAny, Budget(), {1, 200});
  ASSERT_TRUE(kernel);
  EXPECT_FALSE(modulo_kernel(body, kernel->period, Budget(), {1, 0}));
}

TEST(ModuloSchedule, depends_on_the_seed_and_the_tries_alone) {
  const Problem problem =
      testing::stage_pipeline(StagePipeline{PipelineShape::kV, 4, 20, 1, 1.2, 0.8, 0, {5, 5, 5, 5}});
  const auto body = testing::unit_of(problem);
  const std::optional<Kernel> once = modulo_kernel(body, kAny, Budget(), {3, 40});
  const std::optional<Kernel> again = modulo_kernel(body, kAny, Budget(), {3, 40});
  ASSERT_TRUE(once && again);
  EXPECT_EQ(once->period, again->period);
  EXPECT_EQ(once->starts, again->starts);
}

/// Four stages per device, one after the other round and round; each holds a byte per microbatch.
Problem interleaved(std::int64_t capacity) {
  constexpr std::uint32_t kDevices = 4;
  PipelineSpec spec;
  spec.name = "interleaved";
  spec.shape = PipelineShape::kLoop;
  spec.training.microbatches = 24;
  for (std::uint32_t s = 0; s < 4 * kDevices; ++s) {
    Layer layer;
    layer.name = "stage" + std::to_string(s);
    layer.operators = {{"op", "", {"compute"}, units(1), units(1.3), units(0.7)}};
    layer.activation = Bytes(1);
    spec.layers.push_back(std::move(layer));
  }
  for (std::uint32_t d = 0; d < kDevices; ++d) spec.devices.push_back("gpu" + std::to_string(d));
  return Problem::create(build_pipeline(spec),
                         Cluster::create(uniform_cluster(kDevices, {"compute"}, Bytes(capacity), Duration(0)).parts()));
}

TEST(ModuloSchedule, beats_the_kernels_of_list_schedules_where_stages_interleave_in_little_memory) {
  const Problem problem = interleaved(11);
  std::optional<Kernel> listed;
  for (const Schedule& schedule : testing::list_schedules(problem)) {
    std::optional<Kernel> kernel = kernel_from_schedule(problem, problem, schedule);
    if (kernel && (!listed || kernel->period < listed->period)) listed = std::move(kernel);
  }
  ASSERT_TRUE(listed);
  const std::optional<Kernel> kernel = modulo_kernel(testing::unit_of(problem), kAny, Budget(), {1, 300});
  ASSERT_TRUE(kernel);
  EXPECT_LT(static_cast<double>(kernel->period), 0.9 * static_cast<double>(listed->period));
}

}  // namespace
}  // namespace opweave::periodic
