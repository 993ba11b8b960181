/// From few to many microbatches: the same pipelines with 8 to 2000 of them.
#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "bench.h"

namespace opweave::bench {
namespace {

constexpr double kMillisecond = 1e6;
constexpr std::uint32_t kCounts[] = {8, 20, 200, 2000};
/// Plans are as good as the last one from this share above it on.
constexpr double kNear = 0.005;

struct Pipeline {
  std::string name;
  PipelineShape shape;
  std::uint32_t devices;
  std::uint32_t chunks;  ///< stages per device
  double activations;
  double forward, input_gradient, weight_gradient;  ///< of one device's part of the model, ms
  double hop = 0;
  bool unequal = false;  ///< the first stage twice, the last three times as long
};

Problem make_problem(const Pipeline& one, std::uint32_t microbatches) {
  constexpr std::int64_t kActivation = 1'000'000;
  PipelineSpec spec;
  spec.name = one.name;
  spec.shape = one.shape;
  const std::uint32_t stages = one.devices * one.chunks;
  for (std::uint32_t s = 0; s < stages; ++s) {
    const double factor = !one.unequal ? 1 : s == 0 ? 2 : s + 1 == stages ? 3 : 1;
    const auto part = [&](double ms) {
      return Duration(static_cast<std::int64_t>(factor * ms * kMillisecond / one.chunks + 0.5));
    };
    Layer layer;
    layer.name = fmt::format("stage{}", s);
    layer.operators = {
        {"stage", "stage", {"compute"}, part(one.forward), part(one.input_gradient), part(one.weight_gradient)}};
    layer.activation = Bytes(kActivation / one.chunks);
    spec.layers.push_back(std::move(layer));
  }
  for (std::uint32_t d = 0; d < one.devices; ++d) spec.devices.push_back(fmt::format("gpu{}", d));
  spec.training.replicas = one.shape == PipelineShape::kTwoWay ? 2 : 1;
  spec.training.microbatches = microbatches;
  const Bytes memory(static_cast<std::int64_t>(one.activations * kActivation + 0.5));
  return Problem::create(
      build_pipeline(spec),
      uniform_cluster(one.devices, {"compute"}, memory, Duration(static_cast<std::int64_t>(one.hop * kMillisecond))));
}

/// Time between one microbatch and the next in the middle of the plan, over that which the busiest stream needs; "-"
/// where the middle is still part of the ramps.
std::string period_over_least(const Problem& problem, const Plan& plan) {
  constexpr std::uint32_t kFewestWithMiddle = 100;
  if (problem.settings().training.microbatches < kFewestWithMiddle) return "-";
  const Schedule schedule = to_schedule(problem, plan);
  const Training& training = problem.settings().training;
  std::vector<std::uint32_t> list;
  for (std::uint32_t b = 0; b < training.microbatches; ++b) {
    if (training.replica_of(b) == 0) list.push_back(b);
  }
  const std::size_t first = list.size() / 4;
  const std::size_t last = list.size() - 1 - first;
  const OperatorId op = problem.graph().topological_order().front();
  const auto start = [&](std::size_t i) {
    return static_cast<double>(schedule.tasks[problem.task_of(op, list[i]).index()].start.value());
  };
  const double period = (start(last) - start(first)) / static_cast<double>(last - first) / training.replicas;
  return fmt::format("{:.4f}", period / static_cast<double>(plan.statistics.period.value()));
}

}  // namespace

void run_microbatches(const Options& options, const Emit& emit) {
  emit(
      "The same pipelines with more and more microbatches; milliseconds. \"As good as the last\": when there was a "
      "plan "
      "at most 0.5 % longer than the last one. Period: time between two microbatches over the middle half of the plan, "
      "as a "
      "multiple of the load of the busiest stream per microbatch, below which no period can be.");
  emit("");
  emit(
      "| instance | microbatches | operators | ours | proven bound | gap | period / least | first plan s | as good as "
      "the last "
      "after s | wall s | found by |");
  emit("|---|---|---|---|---|---|---|---|---|---|---|");
  constexpr PipelineShape kLinear = PipelineShape::kLinear;
  constexpr PipelineShape kV = PipelineShape::kV;
  const Pipeline pipelines[] = {
      {"linear, 4 devices, 1/1/1, peak 4", kLinear, 4, 1, 4, 1, 1, 1},
      {"linear, 8 devices, 1/1.27/.31, peak 12", kLinear, 8, 1, 12, 1, 1.27, 0.31},
      {"V, 8 devices, 1/1.2/.8, hop .1, peak 8", kV, 8, 2, 8, 1, 1.2, 0.8, 0.1},
      {"V, 8 devices, 1/1.2/.8, peak 5", kV, 8, 2, 5, 1, 1.2, 0.8},
      {"two-way, 8 devices, 1/1.2/.8, hop .1, peak 9", PipelineShape::kTwoWay, 8, 1, 9, 1, 1.2, 0.8, 0.1},
      {"loop, 8 devices, 1/1.2/.8, unequal, peak 14", PipelineShape::kLoop, 8, 2, 14, 1, 1.2, 0.8, 0.1, true},
      {"V, 16 devices, 1/1.2/.8, hop .1, peak 16", kV, 16, 2, 16, 1, 1.2, 0.8, 0.1},
      {"linear, 16 devices, 1/1/1, unequal, peak 16", kLinear, 16, 1, 16, 1, 1, 1, 0, true},
  };
  const auto plan_all = [&](const std::string& name, const std::function<Problem(std::uint32_t)>& make) {
    for (const std::uint32_t microbatches : kCounts) {
      if (!options.chooses(fmt::format("{}, m {}", name, microbatches))) continue;
      const Problem problem = make(microbatches);
      const Row row = plan_row(name, problem, options, kMillisecond, "", std::nullopt);
      if (!row.plan) continue;
      double near = row.wall_s;
      for (const Improvement& improvement : row.plan->provenance.trajectory) {
        if (static_cast<double>(improvement.makespan.value()) / kMillisecond <= *row.ours * (1 + kNear)) {
          near = improvement.seconds;
          break;
        }
      }
      emit(fmt::format("| {} | {} | {} | {:.2f} | {:.2f} ({}) | {:.2f} % | {} | {:.2f} | {:.2f} | {:.1f} | {} |", name,
                       microbatches, problem.task_count(), *row.ours, row.bound, row.bound_name,
                       100 * (*row.ours - row.bound) / *row.ours, period_over_least(problem, *row.plan),
                       row.first_plan_s, near, row.wall_s, row.method));
    }
  };
  for (const Pipeline& one : pipelines) {
    plan_all(one.name, [&](std::uint32_t microbatches) { return make_problem(one, microbatches); });
  }
  for (const std::int64_t slots : {34, 32, 20}) {
    plan_all(fmt::format("overlap, V, 8 devices, peak {}", static_cast<double>(slots) / 4),
             [&](std::uint32_t microbatches) { return overlap_problem(slots, microbatches); });
  }
  for (const std::int64_t slots : {44, 34}) {
    plan_all(fmt::format("overlap, four rounds up and down, 8 devices, peak {}", static_cast<double>(slots) / 4),
             [&](std::uint32_t microbatches) { return overlap_zigzag_problem(slots, microbatches); });
  }
  for (const BranchedExample& example : branched_examples()) {
    plan_all(example.folder, [&](std::uint32_t microbatches) { return branched_problem(example, microbatches); });
  }
}

}  // namespace opweave::bench
