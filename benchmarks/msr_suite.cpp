/// Placement instances of Tarnawski et al. (arXiv 2006.16423) against the published optima and the best known values.
#include <fmt/format.h>

#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bench.h"

namespace opweave::bench {
namespace {

using nlohmann::json;

struct Column {
  const char* key;  ///< of results.json
  const char* title;
  MsrOptions options;
};

std::string number(const json& value) { return value.is_number() ? fmt::format("{}", value.get<double>()) : "-"; }

void emit_placement(const Emit& emit, const Options& options, const json& facts, const MsrInstance& instance,
                    const Column& column) {
  const json& known = facts.at(column.key);
  MsrOptions place = column.options;
  place.seed = options.seed;
  const std::clock_t start = std::clock();
  const Budget budget(options.seconds, std::nullopt);
  const MsrAnswer answer = place_msr(instance, budget, place);
  const double wall = budget.elapsed();
  const double cpu = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  const std::string defect = answer.placement.empty() ? "no placement" : msr_infeasibility(instance, answer.placement);
  const double best = known.at("value").get<double>();
  const json published = known.value("published_dp_cpu_seconds", json());
  // The bound given with the suite is one on the load without contiguity; a published optimum is its own bound.
  emit(fmt::format("| {} | {} | {:.6f} | {} | {:.6f} | {:.6f} ({}) | {:.6f} | {} | {:.2f} | {:.3f} | {} | {} |",
                   facts.at("id").get<std::string>(), column.title, best,
                   defect.empty() ? fmt::format("{:.6f}", answer.value) : defect, answer.value / best, answer.bound,
                   answer.bound_name, facts.at("lower_bound_ms").get<double>(), answer.proven ? "yes" : "no", wall, cpu,
                   number(published), answer.method));
}

}  // namespace

void run_msr(const Options& options, const Emit& emit) {
  const std::filesystem::path folder = options.data / "msr";
  std::ifstream stream(folder / "results.json");
  if (!stream) {
    emit("skipped: no msr/results.json under OPWEAVE_DATA");
    return;
  }
  const Column columns[] = {
      {"contiguous_ordered_ms", "throughput, ordered", {MsrObjective::kThroughput, Contiguity::kOrdered, 1}},
      {"non_contiguous_ms", "throughput, none", {MsrObjective::kThroughput, Contiguity::kNone, 1}},
      {"latency_q1_ms", "latency", {MsrObjective::kLatency, Contiguity::kNone, 1}},
  };
  emit(
      "| instance | objective, contiguity | best known ms | ours ms | ours / best known | bound | bound given with the "
      "suite | proven | wall s | CPU s | published CPU s | found by |");
  emit("|---|---|---|---|---|---|---|---|---|---|---|---|");
  const json results = json::parse(stream);
  for (const Column& column : columns) {
    for (const json& facts : results.at("instances")) {
      const std::string id = facts.at("id");
      if (!facts.contains(column.key) || !options.chooses(id + " " + column.title)) continue;
      const std::filesystem::path path = folder / facts.at("file").get<std::string>();
      emit_placement(emit, options, facts, parse_msr(read_file(path), path.string()), column);
    }
  }
}

}  // namespace opweave::bench
