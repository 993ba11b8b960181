#include <memory>
#include <thread>

#include "cli/command.h"
#include "cli/inputs.h"
#include "cli/interrupt.h"
#include "cli/numbers.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "opweave/io.h"
#include "opweave/pareto.h"
#include "report/format.h"

namespace opweave::cli {
namespace {

struct ParetoOptions {
  InputFiles files;
  SettingOptions settings;
  std::size_t points = 8;
  double time_limit = 60;
  std::uint64_t seed = 1;
  unsigned threads = std::max(1U, std::thread::hardware_concurrency());
  std::string method = "auto";
  std::filesystem::path csv;
  std::filesystem::path json;
};

std::string curve_table(const std::vector<ParetoPoint>& points) {
  std::vector<std::vector<std::string>> rows = {
      {"memory limit", "makespan", "lower bound", "gap", "peak memory", "bound by", "found by"}};
  for (const ParetoPoint& point : points) {
    rows.push_back({human(point.memory_limit), point.makespan ? human(*point.makespan) : "-", human(point.bound),
                    point.makespan ? percent(point.gap()) : "-", point.makespan ? human(point.peak_memory) : "-",
                    point.bound_name, point.is_infeasible ? "proven: no plan" : point.method});
  }
  return table(rows);
}

ExitCode run_pareto(const ParetoOptions& options) {
  Budget budget(options.time_limit, std::nullopt);
  expect_files({{"--csv", options.csv}, {"--json", options.json}}, options.files.with({}));
  const std::optional<Problem> loaded =
      load_in_time(budget, options.files,
                   [files = options.files, settings = options.settings] { return load_problem(files, settings); });
  if (!loaded) return ExitCode::kNoPlan;
  const Problem& problem = *loaded;
  const std::atomic<bool>& interrupted = catch_interrupts();
  budget.watch(&interrupted);
  PlannerOptions planner;
  planner.seed = options.seed;
  planner.threads = used_threads(options.threads);
  planner.method = parse_method(options.method);
  ParetoCurve curve;
  {
    ProgressLine progress;
    planner.on_progress = [&progress](const Progress& state) { progress.show(state); };
    curve = pareto_curve(problem, options.points, budget, planner);
  }
  if (curve.points.empty()) {
    complain("error", (curve.is_infeasible ? "no plan exists: " : "no plan found: ") + curve.detail);
    return interrupted ? ExitCode::kInterrupted : ExitCode::kNoPlan;
  }
  if (!options.csv.empty()) write_file(options.csv, pareto_to_csv(curve));
  if (!options.json.empty()) write_file(options.json, pareto_to_json(curve));
  print(curve_table(curve.points));
  return interrupted ? ExitCode::kInterrupted : ExitCode::kDone;
}

}  // namespace

void add_pareto(CLI::App& app, Action& action) {
  auto options = std::make_shared<ParetoOptions>();
  CLI::App* command = app.add_subcommand("pareto", "makespan against memory limit, each point with its bound");
  command->footer(
      "From the least memory for which a plan is found to the memory that the shortest plan takes. Each limit replaces "
      "the\n"
      "capacity of every device, as --memory-limit does for `opweave plan`; none is above the largest capacity.\n"
      "Exit code 3: no plan exists, or none was found.\n\n"
      "Examples:\n"
      "  opweave pareto graph.json cluster.json\n"
      "  opweave pareto graph.json cluster.json --points 20 --time-limit 300 --csv curve.csv");
  options->files.add_to(*command);
  command->add_option("--points", options->points, "memory limits")
      ->check(whole_between(2, 1000))
      ->capture_default_str();
  command->add_option("--csv", options->csv, "write the points here as CSV")->check(file_name());
  command->add_option("--json", options->json, "write the points here as JSON")->check(file_name());
  command->add_option("--time-limit", options->time_limit, "seconds for the whole curve")
      ->check(number())
      ->capture_default_str();
  command->add_option("--seed", options->seed, "seed of the search")
      ->check(whole<std::uint64_t>())
      ->capture_default_str();
  command->add_option("--threads", options->threads, "threads of the search [all cores]")->check(whole<unsigned>(1));
  command->add_option("--method", options->method, "as of `opweave plan`")->capture_default_str();
  options->settings.add_to(*command);
  options->settings.add_blocks_to(*command);
  command->callback([options, &action] { action = [options] { return run_pareto(*options); }; });
}

}  // namespace opweave::cli
