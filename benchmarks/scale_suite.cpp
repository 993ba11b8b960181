/// Large graphs: time to the first valid plan and to a good one, and how times grow.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <random>

#include "bench.h"
#include "order_search/order_search.h"

namespace opweave::bench {

std::string LayeredInstance::name() const { return fmt::format("{} operators, {} devices", operators, devices); }

Problem LayeredInstance::problem(std::uint64_t seed) const {
  std::mt19937_64 random(seed);
  std::vector<Operator> list(operators);
  std::vector<Tensor> tensors(operators);
  for (std::size_t i = 0; i < operators; ++i) {
    list[i].name = fmt::format("op{}", i);
    list[i].durations = {{"", Duration(static_cast<std::int64_t>(1000 + random() % 9000))}};
    tensors[i].name = fmt::format("t{}", i);
    tensors[i].size = Bytes(static_cast<std::int64_t>(1'000'000 + random() % 1'000'000));
    list[i].outputs = {TensorId(i)};
    for (int k = 0; k < 2 && i > 0; ++k) {
      const TensorId input(i - 1 - random() % std::min<std::size_t>(i, 400));
      if (std::find(list[i].inputs.begin(), list[i].inputs.end(), input) == list[i].inputs.end()) {
        list[i].inputs.push_back(input);
      }
    }
  }
  return Problem::create(
      ComputationGraph::create(fmt::format("layered {}", operators), std::move(list), std::move(tensors), {}),
      uniform_cluster(devices, {"compute"}, memory, Duration(500), 1'000'000'000'000));
}

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

namespace {

/// Operators on the same devices, for the growth of times.
constexpr std::size_t kGrowth[] = {10'000, 30'000, 100'000, 300'000};
constexpr std::uint32_t kGrowthDevices = 64;
/// Memory of all devices together, by operator: half of all tensors, so that memory matters as much at every size.
constexpr std::int64_t kGrowthMemory = 750'000;
constexpr std::uint64_t kSteps = 50;
/// Short runs are repeated for so many seconds; the fastest counts, since others may be at work on the machine.
constexpr double kRepeated = 0.3;

template <class Run>
double fastest(Run run) {
  double best = std::numeric_limits<double>::infinity();
  for (double sum = 0; sum < kRepeated;) {
    const double begin = cpu_seconds();
    run();
    const double taken = cpu_seconds() - begin;
    best = std::min(best, taken);
    sum += taken;
  }
  return best;
}

/// Slope of the line through (log operators, log seconds) with the least squares.
double exponent(const std::vector<double>& seconds) {
  double mean_x = 0;
  double mean_y = 0;
  const auto count = static_cast<double>(seconds.size());
  for (std::size_t i = 0; i < seconds.size(); ++i) {
    mean_x += std::log(static_cast<double>(kGrowth[i])) / count;
    mean_y += std::log(seconds[i]) / count;
  }
  double xy = 0;
  double xx = 0;
  for (std::size_t i = 0; i < seconds.size(); ++i) {
    const double x = std::log(static_cast<double>(kGrowth[i])) - mean_x;
    xy += x * (std::log(seconds[i]) - mean_y);
    xx += x * x;
  }
  return xy / xx;
}

void emit_growth(const Options& options, const Emit& emit) {
  emit("");
  emit(fmt::format(
      "Growth with the operators, {} devices, one thread, CPU seconds: the first plan with its check and the "
      "critical path, and {} steps of the order search from it.",
      kGrowthDevices, kSteps));
  emit("");
  emit(fmt::format("| operators | first plan s | {} steps s |", kSteps));
  emit("|---|---|---|");
  std::vector<double> first;
  std::vector<double> steps;
  for (const std::size_t operators : kGrowth) {
    const Bytes memory(static_cast<std::int64_t>(operators) * kGrowthMemory / kGrowthDevices);
    const Problem problem = LayeredInstance{operators, kGrowthDevices, memory}.problem(options.seed);
    std::optional<Plan> plan;
    const double seconds = fastest([&] { plan = opweave::plan(problem, Budget(0.0, std::nullopt)).plan; });
    if (!plan) {
      emit(fmt::format("| {} | no plan in no time | - |", operators));
      return;
    }
    first.push_back(seconds);
    const Schedule start = to_schedule(problem, *plan);
    OrderSearchOptions search;
    search.max_evaluations = kSteps;
    steps.push_back(fastest([&] { (void)improve_order(problem, start, Budget(), search, {}); }));
    emit(fmt::format("| {} | {:.3f} | {:.3f} |", operators, first.back(), steps.back()));
  }
  emit(fmt::format("| exponent | {:.2f} | {:.2f} |", exponent(first), exponent(steps)));
}

/// Equal layers of the tables of repeated blocks.
constexpr std::size_t kLayers[] = {1, 8, 61};
/// A plan is nearly the final one if it is longer by this share.
constexpr double kNearly = 0.01;

/// When the first plan was there that is nearly as good as the last.
double nearly_final_s(const std::vector<Improvement>& trajectory) {
  for (const Improvement& improvement : trajectory) {
    const double last = static_cast<double>(trajectory.back().makespan.value());
    if (static_cast<double>(improvement.makespan.value()) <= last * (1 + kNearly)) return improvement.seconds;
  }
  return 0;
}

void emit_equal_layers(const Options& options, const Emit& emit) {
  emit("");
  emit(
      "Equal layers of a transformer, one microbatch, free placement: what more of the same block costs. A plan is "
      "nearly final if it is at most 1 % longer than the last one.");
  emit("");
  emit(
      "| instance | layers | operators | first plan s | nearly final after s | per operator ms | makespan ms | per "
      "layer ms |");
  emit("|---|---|---|---|---|---|---|---|");
  constexpr std::int64_t kGigabyte = 1'000'000'000;
  struct Block {
    const char* name;
    TransformerInstance instance;
  };
  const Block blocks[] = {{"inference, 300 GB/s", {1, 32, 16, false, 8, 300 * kGigabyte}},
                          {"inference, 10 GB/s", {1, 32, 16, false, 8, 10 * kGigabyte}},
                          {"training, 50 GB/s", {1, 32, 16, true, 8, 50 * kGigabyte}}};
  for (const Block& block : blocks) {
    if (!options.chooses(fmt::format("equal layers, {}", block.name))) continue;
    for (const std::size_t layers : kLayers) {
      TransformerInstance instance = block.instance;
      instance.layers = layers;
      const Problem problem = instance.problem();
      const Row row = plan_row(instance.name(), problem, options, 1e6, "-", std::nullopt);
      if (!row.plan) continue;
      const double seconds = nearly_final_s(row.plan->provenance.trajectory);
      emit(fmt::format("| {} | {} | {} | {:.3f} | {:.3f} | {:.3f} | {:.2f} | {:.2f} |", block.name, layers,
                       problem.task_count(), row.first_plan_s, seconds,
                       1e3 * seconds / static_cast<double>(problem.task_count()), *row.ours,
                       *row.ours / static_cast<double>(layers)));
    }
  }
}

}  // namespace

void run_scale(const Options& options, const Emit& emit) {
  emit("Random layered graphs, transfers of 0.5 us + 1 byte/ps, 2 GB of memory per device; milliseconds.");
  emit("");
  emit_header(emit);
  const LayeredInstance instances[] = {{1'000, 8},    {3'000, 16},  {10'000, 32},
                                       {20'000, 256}, {30'000, 64}, {100'000, 64}};
  for (const LayeredInstance& instance : instances) {
    if (!options.chooses(instance.name())) continue;
    emit_row(emit, plan_row(instance.name(), instance.problem(options.seed), options, 1e6, "-", std::nullopt));
  }
  emit("");
  emit(
      "Transformers split into small operators, one microbatch, free placement; milliseconds. Baseline: the best list "
      "schedule "
      "of a quick placement.");
  emit("");
  emit_header(emit);
  constexpr std::int64_t kGigabyte = 1'000'000'000;
  const TransformerInstance transformers[] = {{48, 32, 16, false, 8, 300 * kGigabyte},
                                              {48, 32, 16, true, 8, 300 * kGigabyte},
                                              {48, 32, 16, false, 8, 10 * kGigabyte},
                                              {48, 32, 16, true, 8, 10 * kGigabyte},
                                              {48, 32, 16, true, 8, 50 * kGigabyte, Contention::kEndpoint}};
  for (const TransformerInstance& instance : transformers) {
    if (!options.chooses(instance.name())) continue;
    const Problem problem = instance.problem();
    const PlanResult listed = plan(problem, Budget(std::nullopt, 0));
    const double baseline = static_cast<double>(listed.plan->statistics.makespan.value()) / 1e6;
    emit_row(emit, plan_row(instance.name(), problem, options, 1e6, "list schedule", baseline));
  }
  emit_equal_layers(options, emit);
  if (options.chooses("growth")) emit_growth(options, emit);
  if (options.chooses("layouts")) emit_layouts(options, emit);
}

}  // namespace opweave::bench
