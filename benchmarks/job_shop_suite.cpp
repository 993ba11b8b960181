/// Flexible job shop (Brandimarte 1993): the planner, and CP-SAT alone, against the best known makespans.
#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "bench.h"

namespace opweave::bench {
namespace {

constexpr double kUnit = 1000;  // the importer makes a time unit a microsecond

/// What one way to plan an instance achieves in the time of the options.
std::string number(std::optional<double> value) { return value ? fmt::format("{:.0f}", *value) : "-"; }

}  // namespace

void run_job_shop(const Options& options, const Emit& emit) {
  const std::filesystem::path folder = options.data / "fjsp";
  std::ifstream stream(folder / "bounds.json");
  if (!stream) {
    emit("skipped: no fjsp/bounds.json under OPWEAVE_DATA");
    return;
  }
  emit(
      "CP-SAT alone: the constraint program of the whole instance, without hints, in the same time on the same "
      "threads.");
  emit("");
  emit(
      "| instance | best known | optimum known | ours | ours / best known | proven bound | proven optimal | wall s | "
      "found by "
      "| CP-SAT alone | its bound | its wall s | ours at most CP-SAT's |");
  emit("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
  double sum = 0;
  double solver_sum = 0;
  std::size_t count = 0;
  std::size_t proven = 0;
  std::size_t at_most_solver = 0;
  std::size_t solver_plans = 0;
  for (const auto& entry : nlohmann::json::parse(stream)) {
    const std::string name = entry.at("name");
    if (!options.chooses(name)) continue;
    const std::filesystem::path path = folder / entry.at("path").get<std::string>();
    ImportedProblem imported = parse_fjs(read_file(path), path.string());
    const Problem problem = Problem::create(std::move(imported.graph), std::move(imported.cluster));
    const bool closed = !entry.at("optimum").is_null();
    const double best = closed ? entry.at("optimum").get<double>() : entry.at("bounds").at("upper").get<double>();
    const Row ours = plan_row(name, problem, options, kUnit, "-", std::nullopt);
    const Row solver = plan_row(name, problem, options, kUnit, "-", std::nullopt, Method::kCp);
    const bool is_at_most = ours.ours && (!solver.ours || *ours.ours <= *solver.ours);
    emit(fmt::format("| {} | {:.0f} | {} | {} | {} | {:.2f} ({}) | {} | {:.1f} | {} | {} | {:.0f} | {:.1f} | {} |",
                     name, best, closed ? "yes" : "no", number(ours.ours),
                     ours.ours ? fmt::format("{:.4f}", *ours.ours / best) : "-", ours.bound, ours.bound_name,
                     ours.is_proven() ? "yes" : "no", ours.wall_s, ours.method, number(solver.ours), solver.bound,
                     solver.wall_s, is_at_most ? "yes" : "no"));
    if (!ours.ours) continue;
    sum += *ours.ours / best;
    ++count;
    proven += ours.is_proven() ? 1U : 0U;
    at_most_solver += is_at_most ? 1U : 0U;
    if (!solver.ours) continue;
    solver_sum += *solver.ours / best;
    ++solver_plans;
  }
  const auto mean = [](double total, std::size_t of) { return of > 0 ? total / static_cast<double>(of) : 0; };
  emit("");
  emit(
      fmt::format("Mean of makespan / best known over {} instances: {:.4f}; CP-SAT alone {:.4f} over {}. Ours at most "
                  "CP-SAT's on {}; proven optimal on {}.",
                  count, mean(sum, count), mean(solver_sum, solver_plans), solver_plans, at_most_solver, proven));
}

}  // namespace opweave::bench
