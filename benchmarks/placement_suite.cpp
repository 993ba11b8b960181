/// What the search for placements is worth: random training steps, each against the best of the guessed placements.
#include <fmt/format.h>

#include <algorithm>

#include "bench.h"
#include "support/random_training_steps.h"

namespace opweave::bench {
namespace {

constexpr std::uint64_t kSteps = 100;
constexpr double kMillisecond = 1e6;

/// 40 equal layers that fill the memory of 4 devices, and of 4 of half the speed, to the last one: 6 and 4 each.
Problem two_speeds(std::uint32_t microbatches) {
  PipelineSpec spec;
  spec.shape = PipelineShape::kFree;
  spec.training.microbatches = microbatches;
  const LayerTime time({{"fast", Duration(1'000'000)}, {"slow", Duration(2'000'000)}});
  for (int i = 0; i < 40; ++i) {
    Layer layer;
    layer.name = fmt::format("layer{}", i);
    layer.operators = {{"layer", "layer", {"compute"}, time, time, time}};
    layer.weights = Bytes(7'400'000'000);
    spec.layers.push_back(std::move(layer));
  }
  ClusterParts cluster = uniform_cluster(8, {"compute"}, std::nullopt, Duration(0)).parts();
  cluster.types = {{"fast", {}, {}}, {"slow", {}, {}}};
  for (std::uint32_t d = 0; d < 8; ++d) {
    cluster.devices[d].type = d < 4 ? "fast" : "slow";
    cluster.devices[d].memory = Bytes(d < 4 ? 50'000'000'000 : 30'000'000'000);
    spec.devices.push_back(cluster.devices[d].name);
  }
  return Problem::create(build_pipeline(spec), Cluster::create(std::move(cluster)));
}

/// Makespan in milliseconds of the plan when placement is only guessed.
Row guessed(const Problem& problem, const Options& options) {
  PlannerOptions planner;
  planner.seed = options.seed;
  planner.threads = options.threads;
  planner.searches_placement = false;
  return planned_row("", problem, options, planner, kMillisecond, "", std::nullopt);
}

}  // namespace

void run_placement(const Options& options, const Emit& emit) {
  emit(
      "8 to 64 unequal layers on 4 to 16 devices of two speeds, 4 to 32 microbatches, memory in multiples of what "
      "whole layers and one microbatch need. The baseline is the planner with the search for placements off, so the "
      "best of the guessed placements, in the same time. Milliseconds.");
  emit("");
  emit_header(emit);
  std::vector<double> ratios;
  std::vector<double> gaps;
  const auto run = [&](const std::string& name, const Problem& problem) -> std::optional<double> {
    const Row baseline = guessed(problem, options);
    const Row row = plan_row(name, problem, options, kMillisecond, baseline.method, baseline.ours);
    emit_row(emit, row);
    if (row.ours) gaps.push_back((*row.ours - row.bound) / *row.ours);
    if (!row.ours || !baseline.ours) return std::nullopt;
    return *row.ours / *baseline.ours;
  };
  for (const std::uint32_t microbatches : {8U, 16U, 32U}) {
    const std::string name = fmt::format("40 equal layers, 4 + 4 devices of two speeds, {} microbatches", microbatches);
    if (options.chooses(name)) (void)run(name, two_speeds(microbatches));
  }
  gaps.clear();
  std::size_t unplanned = 0;
  for (std::uint64_t seed = 1; seed <= kSteps; ++seed) {
    const testing::TrainingStep step = testing::random_training_step(seed);
    if (!options.chooses(step.name)) continue;
    if (const std::optional<double> ratio = run(step.name, step.problem)) {
      ratios.push_back(*ratio);
    } else {
      ++unplanned;
    }
  }
  std::ranges::sort(gaps);
  if (!ratios.empty()) {
    double sum = 0;
    for (const double ratio : ratios) sum += ratio;
    emit("");
    emit(fmt::format(
        "{} steps: {} without a plan; shorter than the best guess on {}, longer on {}; ratio mean {:.4f}, worst "
        "{:.4f}, best {:.4f}; gap median {:.2f} %, worst {:.2f} %.",
        ratios.size() + unplanned, unplanned, std::ranges::count_if(ratios, [](double ratio) { return ratio < 1; }),
        std::ranges::count_if(ratios, [](double ratio) { return ratio > 1; }), sum / static_cast<double>(ratios.size()),
        std::ranges::max(ratios), std::ranges::min(ratios), 100 * gaps[gaps.size() / 2], 100 * gaps.back()));
  }
}

}  // namespace opweave::bench
