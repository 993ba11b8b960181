/// Runs benchmark suites and writes their tables: benchmarks/results.md is made by this program.
#include "bench.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>

namespace opweave::bench {

std::optional<ExpertPlan> best_expert(const Problem& problem) {
  std::optional<ExpertPlan> best;
  for (ExpertPlan& expert : expert_plans(problem)) {
    const Plan plan = make_plan(problem, expert.schedule, {}, {});
    if (!check(problem.graph(), problem.cluster(), plan, 1).empty()) continue;  // too much memory
    if (best && best->schedule.makespan(problem) <= expert.schedule.makespan(problem)) continue;
    best = std::move(expert);
  }
  return best;
}

Row plan_row(const std::string& instance, const Problem& problem, const Options& options, double unit,
             const std::string& baseline_name, std::optional<double> baseline, Method method) {
  PlannerOptions planner;
  planner.seed = options.seed;
  planner.threads = options.threads;
  planner.method = method;
  return planned_row(instance, problem, options, planner, unit, baseline_name, baseline);
}

Row planned_row(const std::string& instance, const Problem& problem, const Options& options,
                const PlannerOptions& planner, double unit, const std::string& baseline_name,
                std::optional<double> baseline) {
  Row row;
  row.instance = instance;
  row.baseline_name = baseline_name;
  row.baseline = baseline;
  const Budget budget(options.seconds, std::nullopt);
  const PlanResult result =
      has_movements(problem) ? plan_with_memory_modes(problem, budget, planner) : plan(problem, budget, planner);
  row.wall_s = budget.elapsed();
  for (const LowerBound& bound : result.bounds) {
    if (static_cast<double>(bound.value.value()) / unit > row.bound) {
      row.bound = static_cast<double>(bound.value.value()) / unit;
      row.bound_name = bound.name;
    }
  }
  if (!result.plan) {
    row.method = result.detail;
    return row;
  }
  row.ours = static_cast<double>(result.plan->statistics.makespan.value()) / unit;
  row.method = result.plan->provenance.method;
  const std::vector<Improvement>& trajectory = result.plan->provenance.trajectory;
  if (!trajectory.empty()) row.first_plan_s = trajectory.front().seconds;
  for (const Improvement& improvement : trajectory) {
    if (baseline && row.beats_baseline_s < 0 &&
        static_cast<double>(improvement.makespan.value()) / unit <= *baseline + 1e-9) {
      row.beats_baseline_s = improvement.seconds;
    }
  }
  row.plan = result.plan;
  return row;
}

void emit_header(const Emit& emit) {
  emit(
      "| instance | baseline | value | ours | ours / baseline | proven bound | gap | wall s | first plan s | at least "
      "as good as the baseline after s | found by |");
  emit("|---|---|---|---|---|---|---|---|---|---|---|");
}

void emit_row(const Emit& emit, const Row& row) {
  const auto number = [](std::optional<double> value) {
    return value ? fmt::format("{:.2f}", *value) : std::string("-");
  };
  const std::string ratio = row.baseline && row.ours ? fmt::format("{:.4f}", *row.ours / *row.baseline) : "-";
  const std::string gap =
      row.ours && *row.ours > 0 ? fmt::format("{:.2f} %", 100 * (*row.ours - row.bound) / *row.ours) : "-";
  emit(fmt::format("| {} | {} | {} | {} | {} | {:.2f} ({}) | {} | {:.1f} | {:.2f} | {} | {} |", row.instance,
                   row.baseline_name, number(row.baseline), number(row.ours), ratio, row.bound, row.bound_name, gap,
                   row.wall_s, row.first_plan_s,
                   row.beats_baseline_s < 0 ? "never" : fmt::format("{:.2f}", row.beats_baseline_s), row.method));
}

namespace {

struct Suite {
  std::string title;
  void (*run)(const Options&, const Emit&);
};

int run(int argc, char** argv) {
  const std::map<std::string, Suite> suites = {
      {"overlap", {"Operator-level overlap", run_overlap}},
      {"pipelines", {"Pipeline schedules", run_pipelines}},
      {"random-pipelines", {"Random pipelines", run_random_pipelines}},
      {"placement", {"Placement of training steps", run_placement}},
      {"branched", {"Branched models", run_branched}},
      {"microbatches", {"From 8 to 2000 microbatches", run_microbatches}},
      {"memory-modes", {"Memory modes", run_memory_modes}},
      {"job-shop", {"Flexible job shop", run_job_shop}},
      {"msr", {"Placement of published graphs", run_msr}},
      {"scale", {"Scale", run_scale}},
      {"exact", {"The mixed-integer program alone against the planner", run_exact}},
  };
  Options options;
  std::vector<std::string> chosen;
  std::string output;
  CLI::App app{"Quality benchmarks of opweave: a table per suite"};
  std::vector<std::string> names;
  for (const auto& [name, suite] : suites) names.push_back(name);
  const std::string list = fmt::format("{}", fmt::join(names, ", "));
  app.add_option("suite", chosen, list + "; none = all");
  app.add_option("--time-limit", options.seconds, "seconds per instance")->capture_default_str();
  app.add_option("--threads", options.threads)->capture_default_str();
  app.add_option("--seed", options.seed)->capture_default_str();
  app.add_option("--only", options.only, "only instances whose name contains this");
  app.add_option("-o,--output", output, "file for the tables");
  CLI11_PARSE(app, argc, argv);
  if (chosen.empty()) chosen = names;
  const char* data = std::getenv("OPWEAVE_DATA");
  options.data = data != nullptr ? data : "../shared/data";

  std::string text;
  const Emit emit = [&](const std::string& line) {
    std::cout << line << std::endl;
    text += line + "\n";
  };
  std::string command = "opweave_bench";
  for (int i = 1; i < argc; ++i) command += std::string(" ") + argv[i];
  for (const std::string& name : chosen) {
    const auto suite = suites.find(name);
    if (suite == suites.end()) {
      std::cerr << "error: unknown suite \"" << name << "\", expected one of " << list << "\n";
      return 2;
    }
    emit("## " + suite->second.title);
    emit("");
    emit(fmt::format("`{}`: {} s per instance, {} thread{}, seed {}, opweave {}.", command, options.seconds,
                     options.threads, options.threads == 1 ? "" : "s", options.seed, OPWEAVE_VERSION));
    emit("");
    suite->second.run(options, emit);
    emit("");
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  emit(fmt::format("Peak memory of the whole run: {} MiB.", usage.ru_maxrss / 1024));
  if (!output.empty()) write_file(output, text);
  return 0;
}

}  // namespace
}  // namespace opweave::bench

int main(int argc, char** argv) {
  try {
    return opweave::bench::run(argc, argv);
  } catch (const opweave::InputError& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 2;
  }
}
