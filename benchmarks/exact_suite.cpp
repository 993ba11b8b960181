/// The complete mixed-integer program alone against the planner, from 30 operators to 100,000.
#include <fmt/format.h>

#include <string>
#include <utility>

#include "bench.h"

namespace opweave::bench {
namespace {

constexpr double kMillisecond = 1e6;

/// "makespan | bound | gap | wall s | what was said" of one method.
std::string cells(const LayeredInstance& instance, const Options& options, Method method) {
  const Row row =
      plan_row(instance.name(), instance.problem(options.seed), options, kMillisecond, "-", std::nullopt, method);
  const std::string proven = row.bound > 0 ? fmt::format("{:.4f}", row.bound) : "-";
  if (!row.plan) return fmt::format("- | {} | - | {:.1f} | {}", proven, row.wall_s, row.method);
  return fmt::format("{:.4f} | {} | {:.2f} % | {:.1f} | {}", *row.ours, proven, 100 * row.plan->gap(), row.wall_s,
                     to_string(row.plan->status));
}

}  // namespace

void run_exact(const Options& options, const Emit& emit) {
  emit("The random layered graphs of the suite `scale`, milliseconds; bounds are each method's own.");
  emit("");
  emit("| instance | MIP alone | bound | gap | wall s | outcome | planner | bound | gap | wall s | outcome |");
  emit("|---|---|---|---|---|---|---|---|---|---|---|");
  const LayeredInstance instances[] = {{30, 4}, {100, 4}, {300, 8}, {1'000, 8}, {10'000, 32}, {100'000, 64}};
  for (const LayeredInstance& instance : instances) {
    if (!options.chooses(instance.name())) continue;
    emit(fmt::format("| {} | {} | {} |", instance.name(), cells(instance, options, Method::kMipDisjunctive),
                     cells(instance, options, Method::kAuto)));
  }
}

}  // namespace opweave::bench
