/// Robustness: random pipelines, each against the best published schedule that fits into its memory.
#include <fmt/format.h>

#include <algorithm>

#include "bench.h"
#include "support/random_training_pipelines.h"

namespace opweave::bench {
namespace {

constexpr std::uint64_t kPipelines = 100;
constexpr double kUnit = 1e6;  // ns per unit: about the forward of a full stage

}  // namespace

void run_random_pipelines(const Options& options, const Emit& emit) {
  emit(
      "4 to 16 devices, 8 to 64 microbatches, all shapes, equal and unequal stages, with and without hop latency, "
      "memory "
      "(in microbatches that a device can hold) from the least with which there is a plan up. Units of about one stage "
      "forward. Every one of them has a plan: one microbatch after the other.");
  emit("");
  emit_header(emit);
  std::size_t rows = 0;
  std::size_t with_expert = 0;
  std::size_t not_worse = 0;
  std::size_t unplanned = 0;
  std::vector<double> gaps;
  for (std::uint64_t seed = 1; seed <= kPipelines; ++seed) {
    const testing::TrainingPipeline pipeline = testing::random_training_pipeline(seed);
    if (!options.chooses(pipeline.name)) continue;
    std::optional<double> baseline;
    const std::optional<ExpertPlan> expert = best_expert(pipeline.problem);
    if (expert) baseline = static_cast<double>(expert->schedule.makespan(pipeline.problem).value()) / kUnit;
    const Row row =
        plan_row(pipeline.name, pipeline.problem, options, kUnit, expert ? expert->name : "no expert fits", baseline);
    emit_row(emit, row);
    ++rows;
    with_expert += expert ? 1U : 0U;
    unplanned += row.ours ? 0U : 1U;
    not_worse += row.ours && baseline && *row.ours <= *baseline + 1e-9 ? 1U : 0U;
    if (row.ours) gaps.push_back((*row.ours - row.bound) / *row.ours);
  }
  std::sort(gaps.begin(), gaps.end());
  emit("");
  emit(
      fmt::format("{} pipelines: {} without a plan; at most the best fitting expert on {} of {}; gap median {:.2f} %, "
                  "worst {:.2f} %.",
                  rows, unplanned, not_worse, with_expert, gaps.empty() ? 0 : 100 * gaps[gaps.size() / 2],
                  gaps.empty() ? 0 : 100 * gaps.back()));
}

}  // namespace opweave::bench
