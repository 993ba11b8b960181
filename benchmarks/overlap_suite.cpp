/// Operator-level overlap: a DeepSeek-V3-like step on two streams per device.
#include <fmt/format.h>

#include <functional>

#include "bench.h"
#include "memory_modes/carry.h"
#include "memory_modes/reductions.h"

namespace opweave::bench {
namespace {

constexpr double kMillisecond = 1e6;
constexpr std::int64_t kSlot = 1'000'000;  // bytes that one layer keeps for one microbatch
constexpr std::uint32_t kDevices = 8;
constexpr std::uint32_t kLayers = 32;

Duration ms(double value) { return Duration(static_cast<std::int64_t>(value * kMillisecond + 0.5)); }

/// One MoE layer: milliseconds from DeepSeek's public training trace (see examples/deepseek-v3).
Layer moe_layer(std::uint32_t index) {
  Layer layer;
  layer.name = fmt::format("layer{}", index);
  layer.operators = {
      {"attention", "attention", {"compute"}, ms(4.37), ms(9.34), ms(2.39)},
      {"dispatch", "all_to_all", {"comm"}, ms(4.35), ms(6.37), std::nullopt},
      {"mlp", "expert_mlp", {"compute"}, ms(4.60), ms(5.31), ms(3.54)},
      {"combine", "all_to_all", {"comm"}, ms(5.99), ms(3.41), std::nullopt},
  };
  layer.activation = Bytes(kSlot);
  return layer;
}

/// As in models with dense first layers and a loss head: no dispatch in three layers, a matrix product after the last.
void make_unequal(std::vector<Layer>& layers) {
  for (std::size_t i = 0; i < 3; ++i) {
    layers[i].operators = {{"attention", "attention", {"compute"}, ms(4.37), ms(9.34), ms(2.39)},
                           {"mlp", "dense_mlp", {"compute"}, ms(6.9), ms(7.97), ms(5.31)}};
  }
  layers.back().operators.push_back({"head", "matmul", {"compute"}, ms(13.11), ms(14.02), ms(14.02)});
}

struct Case {
  std::string name;
  PipelineShape shape;
  std::uint32_t stages;
  std::uint32_t copies;
  std::int64_t slots;  ///< layer activations per device
  std::string baseline_name = "";
  std::optional<double> baseline = std::nullopt;  ///< none: the best published schedule that fits, if m is small
  std::uint32_t microbatches = 20;
  bool hops = false;  ///< 0.2 ms + 0.8 ms per hop on links that carry one tensor at a time
  bool unequal = false;
  bool reduces = false;  ///< gradients of the two copies over 50 GB/s, on the stream of communication
};

/// Beyond it the published schedules take longer than the plan.
constexpr std::uint32_t kMostExpertMicrobatches = 200;
/// Weights of a layer on a device, and as many bytes of gradients (examples/deepseek-v3).
constexpr std::int64_t kWeights = 818'282'496;
constexpr std::int64_t kReplicaBandwidth = 50'000'000'000;

Problem make_problem(const Case& one) {
  constexpr std::int64_t kBoundary = 1000;  // bytes of a tensor between layers
  PipelineSpec spec;
  spec.name = one.name;
  spec.shape = one.shape;
  for (std::uint32_t i = 0; i < kLayers; ++i) {
    spec.layers.push_back(moe_layer(i));
    if (one.hops) spec.layers.back().output = Bytes(kBoundary);
  }
  if (one.unequal) make_unequal(spec.layers);
  if (one.reduces) {
    for (Layer& layer : spec.layers) layer.weights = Bytes(kWeights);
    spec.training.gradient_bytes_per_weight_byte = 1;
    spec.training.reduction_stream = "comm";
  }
  spec.stage_of_layer = even_stages(kLayers, one.stages);
  for (std::uint32_t d = 0; d < kDevices; ++d) spec.devices.push_back(fmt::format("gpu{}", d));
  spec.training.microbatches = one.microbatches;
  spec.training.replicas = one.copies;
  const std::int64_t persistent = one.reduces ? 2 * kLayers / kDevices * 2 * kWeights : 0;  // two stages, gradients too
  const Bytes memory(one.slots * kSlot + (one.hops ? 100 * kBoundary : 0) + persistent);
  ClusterParts cluster = uniform_cluster(kDevices, {"compute", "comm"}, memory, one.hops ? ms(0.2) : Duration(0),
                                         one.hops      ? std::optional<std::int64_t>(kBoundary * 1250)
                                         : one.reduces ? std::optional(kReplicaBandwidth)
                                                       : std::nullopt)
                             .parts();
  if (one.hops) cluster.contention = Contention::kLink;
  return Problem::create(build_pipeline(spec), Cluster::create(std::move(cluster)));
}

double in_ms(const Problem& problem, const Schedule& schedule) {
  return static_cast<double>(schedule.makespan(problem).value()) / kMillisecond;
}

/// Both orders, run where computing takes 1.13 times as long while the device communicates.
void emit_slowdown(const Emit& emit, const std::string& name, const Problem& problem, const Row& row,
                   const ExpertPlan& expert) {
  const auto slowed = [&](const Schedule& schedule) {
    return in_ms(problem,
                 simulate(problem, execution_order(problem, schedule), {Contention::kNone, 1.13, {}}).schedule);
  };
  emit(fmt::format("{}, orders run with computation 1.13 times slower beside communication: ours {:.2f}, {} {:.2f}.",
                   name, slowed(to_schedule(problem, *row.plan)), expert.name, slowed(expert.schedule)));
}

/// The order of a published schedule, its blocks taken apart, in a problem with or without reductions: those of each
/// layer as soon as the order lets them.
double order_in_ms(const Problem& problem, const Schedule& schedule) {
  const MemoryChoice keep(problem.value_count(), MemoryMode::kKeep);
  const auto from = ProblemWithMovements::create(without_reductions(problem), keep);
  const auto to = ProblemWithMovements::create(problem, keep);
  return in_ms(to.problem(), carry(from, schedule, to).value());
}

/// Two rows: the gradients of the two copies reduced, and in no time; and what the difference is.
Row emit_reduced(const Emit& emit, const Case& one, const Options& options, std::vector<std::string>& lines) {
  const Problem problem = make_problem(one);
  const Problem free = without_reductions(problem);
  const ExpertPlan expert = best_expert(free).value();
  const std::string baseline = expert.name + ", blocks taken apart";
  const double before = order_in_ms(free, expert.schedule);
  const double after = order_in_ms(problem, expert.schedule);
  const Row row = plan_row(one.name, problem, options, kMillisecond, baseline, after);
  const Row in_no_time = plan_row(one.name + " in no time", free, options, kMillisecond, baseline, before);
  emit_row(emit, row);
  emit_row(emit, in_no_time);
  lines.push_back(fmt::format("Reductions cost the order of {} {:.2f} ms, ours {:.2f} ms.", expert.name, after - before,
                              row.ours.value_or(0) - in_no_time.ours.value_or(0)));
  return row;
}

/// How good the plans were at a few moments.
void emit_progress(const Emit& emit, const std::vector<Row>& rows, double seconds) {
  std::vector<double> moments;
  for (const double moment : {0.1, 1.0, 3.0, 10.0, 30.0, 60.0, 180.0, 600.0}) {
    if (moment <= seconds) moments.push_back(moment);
  }
  emit("");
  emit("Makespan of the best plan so far, in ms, and the bound at the end:");
  emit("");
  std::string header = "| instance |";
  std::string line = "|---|";
  for (const double moment : moments) {
    header += fmt::format(" {:g} s |", moment);
    line += "---|";
  }
  emit(header + " bound |");
  emit(line + "---|");
  for (const Row& row : rows) {
    if (!row.plan) continue;
    std::string text = fmt::format("| {} |", row.instance);
    for (const double moment : moments) {
      std::optional<Duration> best;
      for (const Improvement& improvement : row.plan->provenance.trajectory) {
        if (improvement.seconds <= moment) best = improvement.makespan;
      }
      text += best ? fmt::format(" {:.2f} |", static_cast<double>(best->value()) / kMillisecond) : " - |";
    }
    emit(fmt::format("{} {:.2f} |", text, row.bound));
  }
}

}  // namespace

Problem overlap_problem(std::int64_t slots, std::uint32_t microbatches) {
  return make_problem({"V", PipelineShape::kV, 2 * kDevices, 1, slots, "", std::nullopt, microbatches});
}

Problem overlap_zigzag_problem(std::int64_t slots, std::uint32_t microbatches) {
  const Problem free =
      make_problem({"zigzag", PipelineShape::kFree, kLayers, 1, slots, "", std::nullopt, microbatches});
  const ComputationGraph& graph = free.graph();
  std::vector<Operator> operators(graph.operators());
  for (Operator& op : operators) {
    const std::size_t round = op.stage->index() / kDevices;
    const std::size_t place = op.stage->index() % kDevices;
    op.devices = {{fmt::format("gpu{}", round % 2 == 0 ? place : kDevices - 1 - place)}};
  }
  return Problem::create(ComputationGraph::create("zigzag", std::move(operators), graph.tensors(), graph.parameters(),
                                                  free.settings().training),
                         free.cluster());
}

void run_overlap(const Options& options, const Emit& emit) {
  emit(
      "8 devices with a compute and a comm stream, 32 layers, 20 microbatches unless said; milliseconds. The published "
      "schedules run pairs of chunks as atomic blocks of 118.20 ms.");
  emit("");
  emit_header(emit);
  constexpr PipelineShape kTwoWay = PipelineShape::kTwoWay;
  constexpr PipelineShape kV = PipelineShape::kV;
  constexpr PipelineShape kFree = PipelineShape::kFree;
  const Case cases[] = {
      {"two-way, 2 copies, peak 9", kTwoWay, 8, 2, 36, "DualPipe", 3551.8},
      {"V, 1 copy, peak 8.5", kV, 16, 1, 34, "DualPipeV", 3621.8},
      {"V, 1 copy, peak 8", kV, 16, 1, 32, "ZB-V", 4479.7},
      {"V, 1 copy, peak 5", kV, 16, 1, 20, "V-Half", 5205.1},
      {"free, 2 copies, peak 9", kFree, 32, 2, 36, "half of DualPipe's bubbles", 2958},
      {"free, 1 copy, peak 8.5", kFree, 32, 1, 34, "half of DualPipeV's bubbles", 2993},
      {"two-way, 2 copies, peak 9, hops over links", kTwoWay, 8, 2, 36, "", {}, 20, true},
      {"two-way, 2 copies, peak 9, gradients over 50 GB/s", kTwoWay, 8, 2, 36, "", {}, 20, false, false, true},
      {"V, 1 copy, peak 8.5, unequal layers", kV, 16, 1, 34, "", {}, 20, false, true},
      {"free, 1 copy, peak 8.5, unequal layers", kFree, 32, 1, 34, "", {}, 20, false, true},
      {"V, 1 copy, peak 8.5, 8 microbatches", kV, 16, 1, 34, "", {}, 8},
      {"V, 1 copy, peak 8.5, 200 microbatches", kV, 16, 1, 34, "", {}, 200},
      {"V, 1 copy, peak 8.5, 2000 microbatches", kV, 16, 1, 34, "", {}, 2000},
  };
  std::vector<Row> rows;
  std::vector<std::function<void()>> afterwards;
  std::vector<std::string> lines;
  for (const Case& one : cases) {
    if (!options.chooses(one.name)) continue;
    if (one.reduces) {
      rows.push_back(emit_reduced(emit, one, options, lines));
      continue;
    }
    const Problem problem = make_problem(one);
    std::optional<ExpertPlan> expert;
    if (one.microbatches <= kMostExpertMicrobatches) expert = best_expert(problem);
    std::string baseline_name = one.baseline_name;
    std::optional<double> baseline = one.baseline;
    if (!baseline && expert) {
      baseline_name = expert->name;
      baseline = in_ms(problem, expert->schedule);
    }
    const Row row = plan_row(one.name, problem, options, kMillisecond, baseline_name, baseline);
    emit_row(emit, row);
    rows.push_back(row);
    if (row.plan && expert && one.microbatches == 20 && !one.hops && !one.unequal && one.shape != kFree) {
      afterwards.push_back(
          [&emit, one, problem, row, expert] { emit_slowdown(emit, one.name, problem, row, *expert); });
    }
  }
  emit_progress(emit, rows, options.seconds);
  if (!afterwards.empty() || !lines.empty()) emit("");
  for (const std::string& line : lines) emit(line);
  for (const auto& line : afterwards) line();
}

}  // namespace opweave::bench
