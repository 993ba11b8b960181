#include "placement/contiguous.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "opweave/pipeline.h"

namespace opweave {
namespace {

/// Eight equal layers on four devices, two replicas of two microbatches each.
Problem eight_layers() {
  PipelineSpec spec;
  spec.shape = PipelineShape::kFree;
  spec.training.microbatches = 4;
  spec.training.replicas = 2;
  for (int i = 0; i < 8; ++i) {
    Layer layer;
    layer.name = fmt::format("layer{}", i);
    layer.operators = {{"op", "", {"compute"}, Duration(1), Duration(1), Duration(1)}};
    spec.layers.push_back(layer);
  }
  return Problem::create(build_pipeline(spec), uniform_cluster(4, {"compute"}, std::nullopt, Duration(0)));
}

/// Device of every layer's forward for one microbatch, as digits.
std::string devices(const Problem& problem, const std::vector<ModeIndex>& modes, std::uint32_t microbatch) {
  std::string result;
  for (int i = 0; i < 8; ++i) {
    // Forwards come first in the pipeline's graph, layer by layer.
    const TaskId task = problem.task_of(OperatorId(static_cast<std::size_t>(i)), microbatch);
    result += fmt::format("{}", problem.mode(task, modes[task.index()]).devices.front().index());
  }
  return result;
}

TEST(ContiguousPlacement, replicas_lie_reversed_rotated_apart_or_together) {
  const Problem problem = eight_layers();
  const auto lay = [&](Fold fold, Shift shift, std::uint32_t microbatch) {
    return devices(problem, *contiguous_placement(problem, fold, 2, PartWeight::kWork, shift), microbatch);
  };
  EXPECT_EQ(lay(Fold::kLoop, Shift::kReversed, 0), "01230123");
  EXPECT_EQ(lay(Fold::kLoop, Shift::kReversed, 3), "32103210");
  EXPECT_EQ(lay(Fold::kLoop, Shift::kRotated, 3), "23012301");  // by 1 / 2 of 4 devices
  EXPECT_EQ(lay(Fold::kLoop, Shift::kTogether, 3), "01230123");
  EXPECT_EQ(lay(Fold::kLoop, Shift::kApart, 0), "00110011");  // two devices each, four parts
  EXPECT_EQ(lay(Fold::kLoop, Shift::kApart, 3), "22332233");
  EXPECT_EQ(lay(Fold::kZigzag, Shift::kApart, 3), "22333322");
  EXPECT_EQ(lay(Fold::kZigzag, Shift::kReversed, 0), "01233210");
  EXPECT_EQ(lay(Fold::kZigzag, Shift::kRotated, 3), "23011032");
}

}  // namespace
}  // namespace opweave
