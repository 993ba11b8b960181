#include <gtest/gtest.h>
#include <chrono>
#include <iostream>

#include "opweave/bounds.h"
#include "support/data_dir.h"
#include "support/pipelines.h"

namespace opweave {
namespace {
using namespace testing;
TEST(Tmp, headline) {
  const auto dir = data_dir();
  if (!dir) GTEST_SKIP();
  struct Row { PipelineShape shape; double k; std::uint32_t reps; };
  for (Row row : {Row{PipelineShape::kTwoWay, 9, 0}, Row{PipelineShape::kV, 8.5, 0}, Row{PipelineShape::kV, 8, 0}, Row{PipelineShape::kV, 5, 0}, Row{PipelineShape::kFree, 9, 2}, Row{PipelineShape::kFree, 8.5, 1}}) {
    const Problem p = layer_pipeline(*dir / "models/deepseek_v3_layer.json", row.shape, 8, 20, row.k, row.reps);
    auto t0 = std::chrono::steady_clock::now();
    auto bounds = lower_bounds(p);
    std::cout << to_string(row.shape) << " " << row.k << " tasks " << p.task_count() << " in " << std::chrono::duration<double>(std::chrono::steady_clock::now() - t0).count() << " s\n";
    for (auto& b : bounds) std::cout << "   " << b.name << " " << b.value.value() / 1e6 << " " << b.detail << "\n";
  }
}
}
}
