/// Flexible job shop (Brandimarte 1993) against the best known makespans.
#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "bench.h"

namespace opweave::bench {

void run_job_shop(const Options& options, const Emit& emit) {
  const std::filesystem::path folder = options.data / "fjsp";
  std::ifstream stream(folder / "bounds.json");
  if (!stream) {
    emit("skipped: no fjsp/bounds.json under OPWEAVE_DATA");
    return;
  }
  constexpr double kUnit = 1000;  // the importer makes a time unit a microsecond
  emit_header(emit);
  double sum = 0;
  std::size_t count = 0;
  for (const auto& entry : nlohmann::json::parse(stream)) {
    if (!options.chooses(entry.at("name"))) continue;
    const std::filesystem::path path = folder / entry.at("path").get<std::string>();
    ImportedProblem imported = parse_fjs(read_file(path), path.string());
    const Problem problem = Problem::create(std::move(imported.graph), std::move(imported.cluster));
    const bool closed = !entry.at("optimum").is_null();
    const double best = closed ? entry.at("optimum").get<double>() : entry.at("bounds").at("upper").get<double>();
    const Row row = plan_row(entry.at("name"), problem, options, kUnit, closed ? "optimum" : "best known", best);
    emit_row(emit, row);
    if (row.ours) {
      sum += *row.ours / best;
      ++count;
    }
  }
  emit("");
  emit(fmt::format("Mean of makespan / best known over {} instances: {:.4f}.", count,
                   count > 0 ? sum / static_cast<double>(count) : 0));
}

}  // namespace opweave::bench
