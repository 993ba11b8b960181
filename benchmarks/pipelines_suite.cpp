/// Expert pipeline schedules of others' table: for each placement, copies and peak, the best of them against ours.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "bench.h"
#include "training/overlapped_pair.h"

namespace opweave::bench {
namespace {

constexpr double kUnit = 1e6;  // ns per unit of cost
constexpr std::int64_t kActivation = 1'000'000;

struct Key {
  std::string placement;
  double peak;
  bool in_pairs;  ///< with the measured cost of an overlapped pair, which only schedules in pairs were valued with
  auto operator<=>(const Key&) const = default;
};

struct Best {
  std::string schedule;
  double makespan;
  double table_bound;
};

Duration units(double value) { return Duration(static_cast<std::int64_t>(value * kUnit + 0.5)); }

Key key_of(const nlohmann::json& scenario, const nlohmann::json& expert) {
  const bool in_pairs = scenario.at("stage_costs").contains("pair") && expert.value("pair_mode", "") == "atomic";
  return {expert.at("placement"), expert.at("peak_activations"), in_pairs};
}

Problem make_problem(const nlohmann::json& scenario, const Key& key) {
  const auto devices = scenario.at("devices").get<std::uint32_t>();
  const double hop = scenario.at("hop_latency").get<double>();
  PipelineSpec spec;
  spec.name = key.placement;
  spec.shape = key.placement == "V"       ? PipelineShape::kV
               : key.placement == "loop2" ? PipelineShape::kLoop
               : key.placement == "bidir" ? PipelineShape::kTwoWay
                                          : PipelineShape::kLinear;
  const std::uint32_t chunks = key.placement == "V" || key.placement == "loop2" ? 2 : 1;
  const auto& costs = scenario.at("stage_costs");
  for (std::uint32_t s = 0; s < chunks * devices; ++s) {
    Layer layer;
    layer.name = fmt::format("stage{}", s);
    const auto part = [&](const char* phase) { return units(costs.at(phase).get<double>() / chunks); };
    layer.operators = {{"stage", "stage", {"compute"}, part("F"), part("I"), part("W")}};
    layer.activation = Bytes(kActivation / chunks);
    if (key.in_pairs) detail::hide_forward(layer, part("pair"));
    spec.layers.push_back(std::move(layer));
  }
  for (std::uint32_t d = 0; d < devices; ++d) spec.devices.push_back(fmt::format("gpu{}", d));
  spec.training.microbatches = scenario.at("microbatches").get<std::uint32_t>();
  spec.training.replicas = key.placement == "bidir" ? 2 : 1;
  const Bytes memory(static_cast<std::int64_t>(key.peak * kActivation + 0.5));
  return Problem::create(build_pipeline(spec), uniform_cluster(devices, {"compute", "forward"}, memory, units(hop)));
}

/// The best of the table's schedules and of those that opweave knows beside them, in the same memory.
Row best_row(const std::string& name, const Problem& problem, const Options& options, Best known) {
  const auto expert = best_expert(problem);
  if (expert) {
    const double makespan = static_cast<double>(expert->schedule.makespan(problem).value()) / kUnit;
    if (makespan < known.makespan - 1e-9) known = {expert->name, makespan, 0};
  }
  const std::optional<double> baseline = known.schedule.empty() ? std::nullopt : std::optional(known.makespan);
  return plan_row(name, problem, options, kUnit, known.schedule, baseline);
}

/// 24 cases that are not in the table: each placement on 8 and 16 devices with P + 1 activations and 3 P microbatches,
/// under the table's three cost sets.
std::vector<nlohmann::json> larger_cases(const nlohmann::json& table) {
  std::map<std::string, nlohmann::json> costs;
  for (const auto& scenario : table.at("cases")) {
    costs.emplace(scenario.at("stage_costs").dump(), scenario.at("stage_costs"));
  }
  std::vector<nlohmann::json> result;
  for (const std::uint32_t devices : {8U, 16U}) {
    for (const auto& [text, stage_costs] : costs) {
      result.push_back(
          {{"id", fmt::format("P{}-m{} F {} I {} W {}", devices, 3 * devices, stage_costs.at("F").get<double>(),
                              stage_costs.at("I").get<double>(), stage_costs.at("W").get<double>())},
           {"devices", devices},
           {"microbatches", 3 * devices},
           {"stage_costs", stage_costs},
           {"hop_latency", 0}});
    }
  }
  return result;
}

}  // namespace

void run_pipelines(const Options& options, const Emit& emit) {
  const std::filesystem::path file = options.data / "pipelines" / "experts.json";
  std::ifstream stream(file);
  if (!stream) {
    emit("skipped: no pipelines/experts.json under OPWEAVE_DATA");
    return;
  }
  const nlohmann::json table = nlohmann::json::parse(stream);
  emit(
      "One row per case, placement and peak memory (activations): the best published schedule with at most that peak. "
      "Units of one stage forward. Where an overlapped pair costs less than its parts, rows in pairs are for stages "
      "whose "
      "forward hides behind backwards, as measured (`overlapped_pair_ns`). At the end the same for 24 cases that are "
      "not "
      "in the table.");
  emit("");
  emit_header(emit);
  std::vector<Row> rows;
  for (const auto& scenario : table.at("cases")) {
    std::map<Key, Best> best;
    for (const auto& expert : scenario.at("experts")) {
      best.try_emplace(key_of(scenario, expert), Best{"", 1e300, 0});
    }
    for (auto& [key, entry] : best) {
      for (const auto& expert : scenario.at("experts")) {
        const Key other = key_of(scenario, expert);
        if (other.placement != key.placement || other.in_pairs != key.in_pairs || other.peak > key.peak) continue;
        if (expert.at("makespan").get<double>() < entry.makespan) {
          entry = {expert.at("schedule"), expert.at("makespan"), expert.at("lower_bound_at_this_peak")};
        }
      }
      const std::string name = fmt::format("{} {} peak {}{}", scenario.at("id").get<std::string>(), key.placement,
                                           key.peak, key.in_pairs ? " in pairs" : "");
      if (!options.chooses(name)) continue;
      rows.push_back(best_row(name, make_problem(scenario, key), options, entry));
      emit_row(emit, rows.back());
    }
  }
  for (const nlohmann::json& scenario : larger_cases(table)) {
    for (const char* placement : {"linear", "loop2", "V", "bidir"}) {
      const Key key{placement, scenario.at("devices").get<double>() + 1, false};
      const std::string name = fmt::format("{} {} peak {}", scenario.at("id").get<std::string>(), placement, key.peak);
      if (!options.chooses(name)) continue;
      rows.push_back(best_row(name, make_problem(scenario, key), options, {"", 1e300, 0}));
      emit_row(emit, rows.back());
    }
  }
  std::size_t not_worse = 0;
  std::size_t better = 0;
  std::size_t proven = 0;
  std::vector<double> gaps;
  for (const Row& row : rows) {
    if (!row.ours || !row.baseline) continue;
    not_worse += *row.ours <= *row.baseline + 1e-9 ? 1U : 0U;
    better += *row.ours < *row.baseline - 1e-9 ? 1U : 0U;
    proven += *row.ours <= row.bound + 1e-9 ? 1U : 0U;
    gaps.push_back((*row.ours - row.bound) / *row.ours);
  }
  std::sort(gaps.begin(), gaps.end());
  emit("");
  emit(
      fmt::format("{} rows: at most the expert's makespan on {}, below it on {}, equal to the proven bound on {}; gap "
                  "median {:.2f} %, worst {:.2f} %.",
                  rows.size(), not_worse, better, proven, gaps.empty() ? 0 : 100 * gaps[gaps.size() / 2],
                  gaps.empty() ? 0 : 100 * gaps.back()));
}

}  // namespace opweave::bench
