/// The complete mixed-integer program alone against the planner, from 30 operators to 100,000.
#include <fmt/format.h>

#include <string>
#include <utility>

#include "bench.h"

namespace opweave::bench {
namespace {

std::string milliseconds(Duration duration) { return fmt::format("{:.4f}", static_cast<double>(duration.value()) / 1e6); }

/// "makespan | bound | gap | wall s | what was said" of one method.
std::string cells(const Problem& problem, const Options& options, Method method) {
  const Budget budget(options.seconds, std::nullopt);
  PlannerOptions planner;
  planner.seed = options.seed;
  planner.threads = options.threads;
  planner.method = method;
  const PlanResult result = plan(problem, budget, planner);
  const double seconds = budget.elapsed();
  Duration bound;
  for (const LowerBound& known : result.bounds) bound = std::max(bound, known.value);
  const std::string proven = bound == Duration() ? "-" : milliseconds(bound);
  if (!result.plan) return fmt::format("- | {} | - | {:.1f} | {}", proven, seconds, result.detail);
  return fmt::format("{} | {} | {:.2f} % | {:.1f} | {}", milliseconds(result.plan->statistics.makespan), proven,
                     100 * result.plan->gap(), seconds, to_string(result.plan->status));
}

}  // namespace

void run_exact(const Options& options, const Emit& emit) {
  emit("The random layered graphs of the suite `scale`, milliseconds; bounds are each method's own.");
  emit("");
  emit("| instance | MIP alone | bound | gap | wall s | outcome | planner | bound | gap | wall s | outcome |");
  emit("|---|---|---|---|---|---|---|---|---|---|---|");
  const std::pair<std::size_t, std::uint32_t> sizes[] = {{30, 4},   {100, 4},     {300, 8},
                                                         {1'000, 8}, {10'000, 32}, {100'000, 64}};
  for (const auto& [operators, devices] : sizes) {
    const std::string name = fmt::format("{} operators, {} devices", operators, devices);
    if (!options.chooses(name)) continue;
    Cluster cluster = uniform_cluster(devices, {"compute"}, Bytes(2'000'000'000), Duration(500), 1'000'000'000'000);
    const Problem problem = Problem::create(layered_graph(operators, options.seed), std::move(cluster));
    emit(fmt::format("| {} | {} | {} |", name, cells(problem, options, Method::kMipDisjunctive),
                     cells(problem, options, Method::kAuto)));
  }
}

}  // namespace opweave::bench
